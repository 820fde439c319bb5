"""Private names of aiokafka that the adapters use: an upgrade that changes one must fail in this
test."""

from __future__ import annotations

import inspect

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, codec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer import fetcher, group_coordinator, subscription_state
from aiokafka.errors import for_code
from aiokafka.producer.message_accumulator import MessageAccumulator, MessageBatch
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.record import default_records

from streams.connect.broker.kafka.errors import FencedInstanceIdError
from streams.connect.broker.kafka.producers.producing import FAST_LEVEL, use_fast_lz4
from streams.connect.broker.kafka.requests.offset_fetch import OffsetFetch
from streams.core.types import TopicPartition


def names_used_by(function: object) -> set[str]:
    """Attribute and global names in the code of ``function`` and of the functions inside it."""
    names: set[str] = set()
    pending = [function.__code__]
    while pending:
        code = pending.pop()
        names.update(code.co_names)
        pending.extend(const for const in code.co_consts if inspect.iscode(const))
    return names


def test_the_fetcher_keeps_one_answer_per_partition():
    """`FetchBuffer` drains ``_records`` in place of ``fetched_records``."""
    used = names_used_by(fetcher.Fetcher.fetched_records)
    assert {"_records", "_notify", "_wait_consume_future", "_create_fetch_waiter"} <= used
    assert list(inspect.signature(fetcher.Fetcher._proc_fetch_request).parameters) == [
        "self", "assignment", "node_id", "request",
    ]  # fmt: skip
    assert "_proc_fetch_request" in names_used_by(fetcher.Fetcher._fetch_requests_routine)
    assert {"timestamp", "lso", "highwater"} <= names_used_by(fetcher.Fetcher._proc_fetch_request)


def test_a_seek_removes_the_answer_and_its_error():
    """An offset error stays in the buffer until a seek."""
    assert {"seek", "_records"} <= names_used_by(fetcher.Fetcher.seek_to)


def test_an_answer_is_checked_against_the_position():
    """`ColumnFetch` stands in for `PartitionRecords` behind a `FetchResult`."""
    assert {"next_fetch_offset", "_partition_records"} <= names_used_by(
        fetcher.FetchResult.check_assignment
    )
    assert {"next_fetch_offset"} <= names_used_by(fetcher.FetchResult._update_position)
    assert {"_error"} <= names_used_by(fetcher.FetchError.check_raise)


def test_partition_records_know_the_aborted_transactions():
    """`ColumnFetch` decides by the client's own bookkeeping which batches it skips."""
    used = names_used_by(fetcher.PartitionRecords._unpack_records)
    assert {
        "_records", "_consume_aborted_up_to", "_contains_abort_marker", "_aborted_producers",
        "is_control_batch", "is_transactional", "producer_id", "next_offset", "validate_crc",
    } <= used  # fmt: skip
    assert list(inspect.signature(fetcher.PartitionRecords.__init__).parameters) == [
        "self", "tp", "records", "aborted_transactions", "fetch_offset",
        "key_deserializer", "value_deserializer", "check_crcs", "isolation_level",
    ]  # fmt: skip


def test_a_record_set_takes_the_place_of_memory_records():
    """`RecordSet` stands in for the name in the fetcher; its decoder uses the Python batch."""
    assert "MemoryRecords" in names_used_by(fetcher.Fetcher._proc_fetch_request)
    used = names_used_by(default_records._DefaultRecordBatchPy._read_msg)
    assert {"_buffer", "_pos", "first_timestamp", "base_offset"} <= used
    assert "_num_records" in names_used_by(default_records._DefaultRecordBatchPy.__init__)
    assert callable(default_records._DefaultRecordBatchPy._maybe_uncompress)


def test_the_consumer_has_the_parts_that_the_adapters_use():
    """The adapters reach its client, fetcher and coordinator through it."""
    used = names_used_by(AIOKafkaConsumer.start)
    assert {"_client", "_fetcher", "_coordinator", "_subscription"} <= used
    assert {"fetch_context", "check_errors"} <= names_used_by(AIOKafkaConsumer.getmany)


def test_the_coordinator_exposes_its_member_id():
    """The adapter detects an eviction by a changed member id."""
    used = names_used_by(group_coordinator.GroupCoordinator.reset_generation)
    assert {"member_id", "generation", "request_rejoin"} <= used
    assert callable(group_coordinator.GroupCoordinator.check_errors)


def test_a_partition_state_has_a_position_and_a_pause():
    """Partitions without a seek stay paused in the client."""
    state = subscription_state.TopicPartitionState
    for name in ("has_valid_position", "position", "paused"):
        assert isinstance(getattr(state, name), property)
    assert isinstance(subscription_state.SubscriptionState.reassignment_in_progress, property)


def test_the_producer_has_the_parts_that_abandon_stops():
    """`abandon` stops the sender and fails the records in the accumulator."""
    assert {"_sender", "_message_accumulator", "_txn_manager", "client", "_closed"} <= (
        names_used_by(AIOKafkaProducer.__init__)
    )
    assert isinstance(Sender.sender_task, property)
    # `send_offsets` for a second group of one transaction
    assert "_txn_consumer_group" in names_used_by(TransactionManager.__init__)
    assert callable(Sender._coordinator_dead)
    assert {"_batches", "_pending_batches"} <= names_used_by(MessageAccumulator.fail_all)
    assert {"future", "_drain_waiter"} <= names_used_by(MessageBatch.failure)
    assert "_transaction_waiter" in names_used_by(TransactionManager.begin_transaction)


def test_the_client_returns_metadata_of_topics():
    """`partitions_of` waits on the result of a metadata update."""
    assert callable(AIOKafkaClient.force_metadata_update)
    assert "_md_update_fut" in names_used_by(AIOKafkaClient.force_metadata_update)
    assert callable(AIOKafkaAdminClient._send_to_controller)
    assert list(inspect.signature(AIOKafkaAdminClient._send_request).parameters) == [
        "self", "request", "node_id",
    ]  # fmt: skip
    assert "_client" in names_used_by(AIOKafkaAdminClient.__init__)


def test_the_offset_fetch_request_supports_stable_offsets():
    """aiokafka's own request ends at version 3, and its admin client ignores the error code of the
    answer."""
    asked = OffsetFetch("g", [TopicPartition("t", 0)], stable=True).prepare({9: (1, 10)})
    assert (asked.API_KEY, asked.API_VERSION, asked.RESPONSE_TYPE.API_VERSION) == (9, 7, 7)


def test_lz4_level_is_the_functions_only_default():
    """The adapter replaces this default; it would overwrite another one, too."""
    use_fast_lz4()
    assert inspect.signature(codec.lz4_encode).parameters["level"].default == FAST_LEVEL
    assert codec.lz4_decode(codec.lz4_encode(b"x" * 1000)) == b"x" * 1000


def test_the_error_code_of_a_fenced_static_member_is_known():
    """Without the adapter's entry, the client reports the code as "unknown"."""
    assert for_code(82) is FencedInstanceIdError
