"""The 40 fault cases, and what holds each of them: tests on real processes, brokers and stores, by id.

Where a case is held by the simulation as well, it says so (`simulated`); `note` says what a test cannot show here.
"""

from __future__ import annotations

from dataclasses import dataclass

_HERE = "tests/fault_cases"
_ORCHESTRATOR = f"{_HERE}/test_orchestrator_killed.py"
_PARTICIPANT = f"{_HERE}/test_participant_killed.py"
_UNDOING = f"{_HERE}/test_undoing.py"
_RACING = f"{_HERE}/test_racing.py"
_BROKER = f"{_HERE}/test_broker_trouble.py"
_DISK = f"{_HERE}/test_full_disk.py"
_REDIS = f"{_HERE}/test_redis_trouble.py"
_CLUSTER = "tests/chaos/test_cluster.py"
_ONE_EFFECT = "tests/end_to_end/test_one_effect.py"
_RUBBISH = "tests/end_to_end/test_rubbish.py"
_STOPPING = "tests/end_to_end/test_stopping.py"
_TRANSPORT = "tests/transport/test_rabbitmq_faults.py"
_OUTAGE = "tests/transport/test_rabbitmq_outage.py"
_REDIS_STORE = "tests/store/test_redis_store.py"
_SQLITE_STORE = "tests/store/test_sqlite_store.py"


@dataclass(frozen=True)
class Case:
    """One thing that goes wrong, and what must come of it."""

    number: int
    fault: str
    expected: str
    held: tuple[str, ...] = ()
    """Ids of the tests on real processes, brokers or stores."""
    simulated: bool = False
    """Whether the simulation is to hold it too."""
    note: str = ""


CASES = (
    Case(
        1,
        "orchestrator killed after commit, before publish",
        "published by the scan, effect once",
        (
            f"{_ORCHESTRATOR}::test_what_it_had_committed_goes_on_after_its_restart",
            f"{_ORCHESTRATOR}::test_the_same_with_redis",
            f"{_ORCHESTRATOR}::test_a_saga_that_is_being_undone_goes_on_being_undone",
        ),
        simulated=True,
    ),
    Case(
        2,
        "orchestrator killed after publish, before the outbox is emptied",
        "the second copy has no effect",
        (
            f"{_ORCHESTRATOR}::test_what_it_had_committed_goes_on_after_its_restart",
            f"{_ORCHESTRATOR}::test_the_same_with_redis",
        ),
        simulated=True,
    ),
    Case(
        3,
        "orchestrator killed after commit, before the ack of the reply",
        "delivered again, recognised, acknowledged",
        (
            f"{_ORCHESTRATOR}::test_what_it_had_committed_goes_on_after_its_restart",
            f"{_ORCHESTRATOR}::test_the_same_with_redis",
        ),
        simulated=True,
    ),
    Case(
        4,
        "participant killed before its commit",
        "delivered again, carried out once",
        (f"{_PARTICIPANT}::test_its_effect_is_there_once_after_its_restart",),
        simulated=True,
    ),
    Case(
        5,
        "participant killed after its commit, before the reply",
        "the stored answer is sent",
        (
            f"{_PARTICIPANT}::test_its_effect_is_there_once_after_its_restart",
            f"{_ONE_EFFECT}::test_a_command_again_after_a_restart",
        ),
        simulated=True,
    ),
    Case(
        6,
        "participant killed between the provider's effect and the record of it",
        "the provider is asked again under the same key, its effect is there once",
        (f"{_PARTICIPANT}::test_a_provider_that_has_done_it_is_asked_again_under_the_same_key",),
        simulated=True,
    ),
    Case(
        7,
        "command duplicated",
        "one effect, the same answer",
        (f"{_ONE_EFFECT}::test_a_command_delivered_twice", f"{_ONE_EFFECT}::test_many_copies_at_once"),
        simulated=True,
    ),
    Case(
        8,
        "reply duplicated or out of order",
        "one transition",
        (f"{_ONE_EFFECT}::test_a_reply_twice", f"{_ONE_EFFECT}::test_a_reply_after_the_timeout"),
        simulated=True,
    ),
    Case(
        9,
        "a `do` comes after the timeout, and after its `undo`",
        "refused by the tombstone, or undone: net effect zero",
        (
            f"{_PARTICIPANT}::test_a_paused_participant_gets_its_commands_after_the_saga_has_given_up",
            f"{_ONE_EFFECT}::test_a_participant_that_was_away_past_the_end",
            f"{_ONE_EFFECT}::test_do_and_undo_in_one_batch",
        ),
        simulated=True,
    ),
    Case(
        10,
        "an `undo` comes first, its `do` later or never",
        "nothing to undo; the `do` is refused",
        (
            f"{_ONE_EFFECT}::test_an_undo_before_its_do",
            f"{_ONE_EFFECT}::test_an_undo_before_its_do_also_after_a_restart",
        ),
        simulated=True,
    ),
    Case(
        11,
        "a late OK while the saga is being undone",
        "recorded, nothing changes, net effect zero",
        (f"{_ONE_EFFECT}::test_a_reply_after_the_saga_has_given_up",),
        simulated=True,
    ),
    Case(
        12,
        "a definite refusal, then a copy of the command",
        "still refused",
        (f"{_ONE_EFFECT}::test_a_refused_command_again",),
        simulated=True,
    ),
    Case(
        13,
        "an undo fails fifty times",
        "tried until it succeeds, compensated",
        (f"{_UNDOING}::test_an_undo_that_fails_fifty_times_is_tried_until_it_succeeds",),
        simulated=True,
    ),
    Case(
        14,
        "an undo fails for ever",
        "parked, said in the log, and a person can have it tried again",
        (f"{_UNDOING}::test_an_undo_that_fails_for_ever_parks_says_so_and_can_be_tried_again",),
        simulated=True,
    ),
    Case(
        15,
        "rubbish: not JSON, wrong schema, oversize, deep, NaN",
        "parked once with a reason; the shop goes on",
        (f"{_RUBBISH}::test_rubbish_is_parked_once_and_the_shop_goes_on",),
        simulated=True,
        note="A bad signature is not among it: messages are not signed yet.",
    ),
    Case(
        16,
        "a command that no queue takes",
        "returned, said in the log, sent again; nothing is lost",
        (f"{_BROKER}::test_a_command_that_no_queue_takes_waits_says_so_and_leaves_later",),
    ),
    Case(
        17,
        "broker killed: one node, a leader, all",
        "a pause, then on; nothing lost, nothing doubled",
        (f"{_OUTAGE}::test_kill_9_and_start_again", f"{_CLUSTER}::test_the_leader_is_killed_and_then_cut_off"),
        note="With whole sagas under load, and with all three nodes at once: `python -m tests.chaos --cluster`.",
    ),
    Case(
        18,
        "half-open connection: the broker is stopped, or a black hole lies between",
        "noticed within 3 x (heartbeat + 1) s by a process at rest; on afterwards",
        (
            f"{_BROKER}::test_a_broker_that_is_stopped_is_noticed_by_a_process_at_rest",
            f"{_BROKER}::test_a_black_hole_is_noticed_by_a_process_at_rest",
            f"{_TRANSPORT}::test_a_silent_peer_is_noticed",
        ),
    ),
    Case(
        19,
        "network partition in a cluster of three, the leader in the minority",
        "what was not confirmed is sent again; nothing lost",
        (f"{_CLUSTER}::test_the_leader_is_killed_and_then_cut_off",),
        note="One node against two. A partition of all three from each other is not tried.",
    ),
    Case(
        20,
        "memory alarm, disk alarm",
        "publishing waits, acks go on, no command times out that has not left",
        (
            f"{_BROKER}::test_an_alarm_stops_the_sagas_and_times_nothing_out",
            f"{_OUTAGE}::test_an_alarm_stops_publishing_but_no_ack",
        ),
    ),
    Case(
        21,
        "disk full under the store or the broker",
        "the commit fails, so nothing is acknowledged; on when there is room",
        (
            f"{_DISK}::test_under_a_sqlite_store",
            f"{_DISK}::test_under_redis",
            f"{_DISK}::test_under_the_broker",
            f"{_SQLITE_STORE}::test_a_full_disk_refuses_the_commit_and_the_store_goes_on_later",
        ),
        note="Redis with appendfsync always ends itself when it cannot write: somebody must start it again.",
    ),
    Case(
        22,
        "the server cancels a consumer; its queue is deleted, or made anew as another kind",
        "the consumer comes back, or the process ends with an error; never silence",
        (
            f"{_TRANSPORT}::test_the_queue_is_deleted_under_the_consumer",
            f"{_TRANSPORT}::test_the_queue_is_replaced_by_another_kind",
        ),
        simulated=True,
        note="RabbitMQ 4.3 cancels where 3.10 closes the channel: only the simulation can do that here.",
    ),
    Case(
        23,
        "a handler takes longer than the broker waits for its ack",
        "delivered again, effect once",
        (f"{_BROKER}::test_a_handler_slower_than_the_broker_waits_for_its_ack",),
        simulated=True,
    ),
    Case(
        24,
        "Redis killed, every write synced",
        "no acknowledged transition lost",
        (
            f"{_REDIS}::test_kill_9_with_every_write_synced_loses_no_transition",
            f"{_REDIS_STORE}::test_a_restart_of_the_server_is_survived",
        ),
        note="A kill of the process; what the disk itself does when the power fails cannot be shown on this host.",
    ),
    Case(
        25,
        "Redis loses the tail of its file (`everysec` and a power cut)",
        "EXPECTED TO LOSE the transitions since the last sync; sagas step back, effects are not doubled, a saga that "
        "is lost whole is there again once its caller starts it again under its key",
        (f"{_REDIS}::test_a_lost_second_steps_sagas_back_and_doubles_nothing",),
        simulated=True,
        note="The power cut is imitated: the file is put back to a copy from the middle of the run.",
    ),
    Case(
        26,
        "Redis fails over to a replica that lacks acknowledged writes",
        "EXPECTED TO LOSE them; as in case 25",
        (f"{_REDIS}::test_a_replica_that_lacks_acknowledged_writes_is_promoted",),
        simulated=True,
        note="There is no start log, so a saga that is lost whole is reported by nobody but its caller.",
    ),
    Case(
        27,
        "a commit is applied, its answer lost",
        "recognised as one's own",
        (f"{_REDIS_STORE}::test_a_commit_whose_answer_is_lost_is_recognised",),
        simulated=True,
    ),
    Case(
        28,
        "Redis has no memory (`noeviction`)",
        "a transition is refused whole or done whole; who starts a saga waits",
        (
            f"{_REDIS}::test_no_memory_refuses_new_sagas_and_tears_none_apart",
            f"{_REDIS_STORE}::test_no_memory_refuses_a_transition_whole",
        ),
    ),
    Case(
        29,
        "five orchestrators race on every timer and reply",
        "one winner for each version",
        (f"{_RACING}::test_five_orchestrators_race_on_every_timer_and_reply",),
        simulated=True,
    ),
    Case(
        30,
        "clocks are wrong by 5 minutes, or jump by an hour",
        "a try or an undo too early at most; every net effect is right",
        (f"{_RACING}::test_clocks_that_are_wrong_or_jump_break_nothing",),
        simulated=True,
        note="`time.time` of the process is bent, which is the clock that choros reads; the kernel's is left alone.",
    ),
    Case(
        31,
        "the event loop is blocked for longer than the heartbeat allows",
        "connection lost and made again, all of it in the log, effect once",
        (f"{_PARTICIPANT}::test_a_blocked_event_loop_loses_its_connection_and_no_effect",),
        note="6 s with a heartbeat of 1 s instead of 30 s with 10 s.",
    ),
    Case(
        32,
        "one subscriber's queue is full",
        "facts are published again until it has them, the others see each once; commands are not held up",
        (
            f"{_BROKER}::test_a_full_queue_of_one_subscriber_stops_no_saga_and_doubles_nothing",
            f"{_TRANSPORT}::test_a_full_queue_is_nacked_and_the_stream_waits",
        ),
        simulated=True,
    ),
    Case(
        33,
        "killed between the first fact of a saga and the second",
        "all facts, the same ids, in order",
        (f"{_ORCHESTRATOR}::test_all_facts_come_out_once_and_in_order",),
        simulated=True,
    ),
    Case(
        34,
        "delivery limit reached while the dead-letter exchange is missing",
        "the message is kept, and arrives when the exchange is there",
        (f"{_BROKER}::test_a_message_that_comes_back_too_often_waits_for_its_dead_letter_exchange",),
    ),
    Case(
        35,
        "orchestrators replaced by a new version of the saga while others are under way",
        "what is under way ends in its own version",
        (f"{_RACING}::test_a_new_version_while_the_old_one_is_under_way",),
        simulated=True,
    ),
    Case(
        36,
        "forged user id, another service's queue, tampered body",
        "refused by the broker",
        (f"{_BROKER}::test_a_service_with_least_privilege_reads_and_writes_only_what_is_its_own",),
        note="A tampered body is not noticed if it is well formed: messages are not signed yet.",
    ),
    Case(
        37,
        "SIGTERM under load",
        "drained or delivered again, nothing lost",
        (f"{_STOPPING}::test_a_process_that_is_asked_to_end_loses_nothing",),
    ),
    Case(
        38,
        "a `do` comes out of the dead letters after its barrier row was pruned",
        "refused, its deadline has passed",
        (f"{_ONE_EFFECT}::test_a_command_past_its_deadline",),
        simulated=True,
        note="On a real participant only the refusal by deadline; the pruning before it is simulated.",
    ),
    Case(
        39,
        "SQLite is locked by another process, or its log is torn by kill -9",
        "tried again; SQLite recovers",
        (
            f"{_SQLITE_STORE}::test_kill_9_loses_no_acknowledged_commit",
            f"{_SQLITE_STORE}::test_a_lock_of_another_process_is_waited_for",
            f"{_SQLITE_STORE}::test_the_file_survives_a_power_cut",
        ),
    ),
    Case(
        40,
        "the same saga started many times at once",
        "one saga, the same id for everybody",
        (f"{_RACING}::test_the_same_start_from_many_callers_at_once_is_one_saga",),
        simulated=True,
    ),
)
