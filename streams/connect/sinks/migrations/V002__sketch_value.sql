-- The value of a sketch code, within 1 % of every value that has it: see tables/sketch_code.py.
CREATE FUNCTION IF NOT EXISTS sketch_value AS (code) ->
    if(code = 0, 0., sign(code) * exp((abs(code) - 1038) * 0.0200006667) * 1.01);
