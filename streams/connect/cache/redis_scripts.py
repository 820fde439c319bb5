"""Lua scripts that Redis runs atomically. Numbers are doubles: versions stay below 2**53."""

from __future__ import annotations

from typing import Final

FLOOR: Final = """
-- KEYS: floor. ARGV: floor TTL in ms, whether it is a stamp. Returns the floor; if there is none a
-- new one, by Redis's own clock.
local floor = redis.call('GET', KEYS[1])
if floor then return floor end
floor = '0'
if ARGV[2] == '1' then
  local now = redis.call('TIME')
  floor = string.format('%.0f', now[1] * 1000000 + now[2])
end
redis.call('SET', KEYS[1], floor, 'PX', ARGV[1])
return floor
"""

ADVANCE: Final = """
-- KEYS: entry, floor. ARGV: version or '', floor TTL in ms, channel, cache, name, entry TTL in ms,
-- whether there must be a floor, and the body, unless the entry is to be deleted.
-- Returns the floor, or false.
local known = redis.call('GET', KEYS[2])
if ARGV[7] == '1' and not known then return false end
local floor = tonumber(known or '0')
local version
if ARGV[1] == '' then
  local now = redis.call('TIME')
  version = math.max(now[1] * 1000000 + now[2], floor + 1)
else
  version = tonumber(ARGV[1])
end
if version < floor then return string.format('%.0f', floor) end
local text = string.format('%.0f', version)
redis.call('SET', KEYS[2], text, 'PX', ARGV[2])
if #ARGV == 8 then
  redis.call('SET', KEYS[1], text .. ' ' .. ARGV[8], 'PX', ARGV[6])
else
  redis.call('DEL', KEYS[1])
end
redis.call('PUBLISH', ARGV[3], cjson.encode({ARGV[4], ARGV[5], text}))
return text
"""
