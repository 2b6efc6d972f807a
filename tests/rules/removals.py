"""What is taken out: an edit for each rule of `docs/decisions/0001-rules.md`, and the tests that notice it."""

from tests.rules.removal import Removal

TERMINATING = "tests/saga/test_terminate.py"
CHOICES = "tests/saga/test_choices.py"
ANSWERS = "tests/saga/test_machine_answers.py"
APART = "tests/facts/test_apart.py"
FACTS = "tests/saga/test_machine_facts.py"
PEOPLE = "tests/saga/test_machine_people.py"
PIVOT = "tests/saga/test_machine_pivot.py"
TIMERS = "tests/saga/test_machine_timers.py"
DECLARATION = "tests/saga/test_declaration.py"
ORCHESTRATOR = "tests/runtime/test_orchestrator.py"
PARTICIPANT = "tests/runtime/test_participant.py"
OUTBOX = "tests/runtime/test_participant_outbox.py"
UNDO = "tests/runtime/test_local_undo.py"
CANCELLED = "tests/runtime/test_provider_cancelled.py"
PROVIDER = "tests/runtime/test_participant_provider.py"
UNFINISHED = "tests/runtime/test_unfinished.py"
SUBSCRIBER = "tests/runtime/test_subscriber.py"
BARRIER = "tests/runtime/test_verdicts.py"
FORGETTING = "tests/runtime/test_forgetting.py"
FORGOTTEN = "tests/saga/test_machine_forgotten.py"
GIVING_UP = "tests/runtime/test_giving_up.py"
ENDS = "tests/runtime/test_flow_ends.py"
FLOWS = "tests/runtime/test_flow_identity.py"
JOINS = "tests/runtime/test_joins.py"
SERVICE_OUTBOX = "tests/runtime/test_service_outbox.py"
REACTIONS = "tests/runtime/test_reactions.py"
RENAMED = "tests/runtime/test_renamed.py"
DRIFT = "tests/runtime/test_drift.py"
PARALLEL = "tests/saga/test_parallel.py"
EACH, REPEAT = "tests/saga/test_each.py", "tests/saga/test_repeat.py"
RACE = "tests/saga/test_race.py"
WHEN = "tests/saga/test_when.py"
UNDO_ORDER = "tests/saga/test_undo_order.py"
SLEEP = "tests/saga/test_sleep.py"
EXISTING = "tests/saga/test_existing.py"
NESTED = "tests/saga/test_nested.py"
STARTS = "tests/runtime/test_fact_starts.py"
HEARD = "tests/saga/test_wait_for_fact.py"
WIRED = "tests/runtime/test_signals_off_the_wire.py"
LOCK, LOCKS = "tests/saga/test_lock.py", "tests/runtime/test_locks.py"
LOCAL, HANDOVER = "tests/saga/test_local.py", "tests/transport/test_handover.py"

STANDING, BELOW = "tests/saga/test_left_standing.py", "tests/saga/test_left_below.py"

REMOVALS = (
    Removal(
        47, "an undo that is skipped is closed first", "saga.machine.walk.SagaWalk.give_up",
        "close_undo(self, leaf, why)", "self.leave_standing(leaf.path, why)",
        (f"{STANDING}::test_rule_47_it_is_closed_first_and_only_then_passed_over",),
    ),
    Removal(
        47, "no fact claims a clean undo", "saga.machine.walk.SagaWalk._tell",
        "self.instance.backward and self._is_left_standing()", "False",
        (f"{STANDING}::test_rule_47_the_end_says_so_and_no_fact_claims_a_clean_undo",),
    ),
    Removal(
        47, "a step whose undo a person skips is left standing", "saga.machine.acts._skip",
        "close_undo(walk, leaf, state.parked)", "close_undo(walk, leaf)",
        (f"{STANDING}::test_rule_47_a_skip_of_an_undo_leaves_the_step_standing",),
    ),
    Removal(
        47, "what has left something standing is not run again", "saga.machine.rerun.why_not",
        "if instance.standing:", "if False:",
        (f"{STANDING}::test_rule_47_it_is_not_run_again_until_that_is_settled",),
    ),
    Removal(
        47, "a nested saga says what it has left", "saga.machine.nested._undone",
        "if left := instance.standing:", "if left := ():",
        (f"{BELOW}::test_rule_47_undone_by_the_one_around_it_it_says_what_it_left",),
    ),
    Removal(
        47, "what is in doubt is settled either way", "saga.machine.acts._settle_at_end",
        'case "in_doubt", False:', 'case "nothing", False:',
        (f"{STANDING}::test_rule_47_what_is_in_doubt_after_a_terminate_is_settled_either_way",),
    ),
    Removal(
        1, "a retry keeps its key",
        "saga.machine.walk.send", "state.round, leg.operation", "leg.attempt, leg.operation",
        (f"{ANSWERS}::test_rule_1_a_retry_keeps_the_key_and_the_body",),
    ),
    Removal(
        1, "an undo shares the key of its do", "saga.machine.walk.send", "state.round, leg.operation",
        'state.round + (leg.operation == "undo"), leg.operation',
        (f"{ANSWERS}::test_rule_1_an_undo_has_the_key_of_its_do",),
    ),
    Removal(
        1, "the round rises after a refusal", "saga.machine.acts._retry", "state.round + 1", "state.round",
        (f"{ANSWERS}::test_rule_1_a_round_rises_only_when_a_refused_step_is_tried_again",),
    ),
    Removal(
        2, "what is gone no saga makes again", "saga.machine.rerun.why_not",
        "leaf.existing and not stands", "False and not stands",
        (f"{EXISTING}::test_rule_2_what_is_gone_no_saga_makes_again",),
    ),
    Removal(
        17, "a skip closes the do that undoes it", "saga.machine.walk.close_undo",
        '"do" if leaf.existing else "undo"', '"undo"',
        (f"{EXISTING}::test_rule_17_a_skip_closes_its_do",),
    ),
    Removal(
        36, "an undo that parks holds only what needs it", "saga.nodes.sequence.SequenceNode._freely",
        "turn.attempt(node.backward) and undone", "undone and turn.attempt(node.backward)",
        (f"{UNDO_ORDER}::test_rule_36_an_undo_that_parks_holds_only_what_depends_on_it",),
    ),
    Removal(
        36, "an undo waits for what had its reply", "saga.nodes.commanded.CommandNode.backward",
        "not turn.is_needed(self.path) and ", "",
        (f"{UNDO_ORDER}::test_by_dependency_an_undo_waits_for_those_that_had_its_reply_and_for_no_other",),
    ),
    Removal(
        42, "the order of undoing is in the fingerprint", "saga.saga._fingerprint",
        'if outline.undo != "newest_first"', "if False",
        (f"{UNDO_ORDER}::test_the_order_is_part_of_the_fingerprint_only_where_it_is_said",),
    ),
    Removal(
        3, "the row is read before the deadline", "runtime.participant.verdicts.on_do",
        "if done is None:\n        return",
        "if done is None or matter.late:\n        return",
        (f"{PARTICIPANT}::test_expired_is_refused_and_stored_but_an_answer_given_in_time_stays",),
    ),
    Removal(
        3, "an expired do is refused", "runtime.participant.verdicts.Matter.late",
        "self.came > self", "self.came < -self",
        (f"{PARTICIPANT}::test_expired_is_refused_and_stored_but_an_answer_given_in_time_stays",),
    ),
    Removal(
        3, "an undo carries the greatest deadline", "saga.machine.walk.send",
        "max(not_after or 0.0, _begins_until(turn, leaf, leg))",
        "_begins_until(turn, leaf, leg)",
        (f"{TIMERS}::test_rule_3_a_clock_that_was_set_back_lowers_no_deadline",),
    ),
    Removal(
        3, "what is to be taken in time is not taken later", "saga.machine.walk._begins_until",
        "leaf.taken_within is None", "True",
        (f"{TIMERS}::test_rule_3_what_is_to_be_taken_in_time_carries_no_more_than_that",),
    ),
    Removal(
        3, "silence gives it no more time", "saga.machine.walk._begins_until",
        "leg.waiting or leg.first_at == turn.now", "True",
        (f"{TIMERS}::test_rule_3_silence_gives_it_no_more_time",),
    ),
    Removal(
        3, "what was taken and failed may be taken once more", "saga.machine.walk._begins_until",
        "leg.waiting or leg.first_at == turn.now", "leg.first_at == turn.now",
        (f"{TIMERS}::test_rule_3_what_was_taken_and_failed_may_be_taken_once_more",),
    ),
    Removal(
        3, "a tombstone outlives the last do", "runtime.participant.verdicts.tombstone_until",
        "until = not_after + 2 * skew", "until = not_after + skew",
        (f"{BARRIER}::test_a_tombstone_lives_as_long_as_its_do_may_arrive",),
    ),
    Removal(
        3, "a late do is not done again", "runtime.participant.verdicts.on_do",
        "if done is None and matter.behind:", "if False:",
        (f"{FORGETTING}::test_rule_3_a_late_do_is_not_done_again",),
    ),
    Removal(
        3, "a late undo does not say that there was nothing", "runtime.participant.verdicts.on_undo",
        "if matter.behind and", "if False and",
        (f"{FORGETTING}::test_rule_3_a_late_undo_does_not_say_that_there_was_nothing",),
    ),
    Removal(
        3, "every command carries when its do was first sent", "saga.machine.walk.send",
        'turn.now if (leg.operation, leg.attempt) == ("do", 1) else state.began', "turn.now",
        (f"{FORGOTTEN}::test_rule_3_every_command_says_when_its_do_was_first_sent",),
    ),
    Removal(
        3, "what was there before is undone by a do", "saga.nodes.existing.ExistingNode._taken_back",
        'self, "do"', 'self, "undo"',
        (f"{EXISTING}::test_rule_3_it_is_taken_back_last_of_all_and_by_a_do",),
    ),
    Removal(
        3, "what was there before is undone", "saga.nodes.existing.ExistingNode.forward",
        'progress="ok"', 'progress="undone"',
        (f"{EXISTING}::test_rule_3_it_is_taken_back_last_of_all_and_by_a_do",),
    ),
    Removal(
        3, "what undoes it expires never", "saga.nodes.existing.Existing.planned",
        "existing=True", "existing=True, expires=True",
        (f"{EXISTING}::test_rule_3_its_command_expires_never_and_carries_when_it_was_first_sent",),
    ),
    Removal(
        3, "what is forgotten parks at once", "saga.machine.answers._failed", "answer.code == FORGOTTEN", "False",
        (f"{FORGOTTEN}::test_rule_3_what_its_participant_has_forgotten_parks_at_once",),
    ),
    Removal(
        3, "a reaction does not call nothing what it has forgotten", "runtime.subscriber.effect_rows.EffectRows._undo",
        "await self._behind()", "False",
        (f"{REACTIONS}::test_rule_3_what_a_reaction_has_forgotten_is_parked_and_neither_done_nor_called_nothing",),
    ),
    Removal(
        4, "a command that cannot leave counts no attempt", "saga.machine.timers.take_timer",
        "(path in fired.unsent and not leg.waiting)", "False",
        (f"{TIMERS}::test_rule_4_while_the_command_cannot_leave_no_attempt_is_counted",),
    ),
    Removal(
        4, "a paused step counts no attempt", "saga.machine.timers.take_timer", "walk.instance.paused or", "",
        (f"{PEOPLE}::test_rule_13_paused_a_command_keeps_its_timer_and_counts_no_attempt",),
    ),
    Removal(
        4, "every command has a timer", "saga.machine.walk.send", "due=turn.now + leaf.timeout.total_seconds()",
        "due=None",
        (f"{TIMERS}::test_rule_4_every_command_and_undo_has_a_timeout",),
    ),
    Removal(
        4, "a sleep does not end early", "saga.machine.turn.Turn.wake", "until > self.now", "False",
        (f"{SLEEP}::test_a_timer_never_ends_it_early",),
    ),
    Removal(
        4, "a sleep's moment is decided once", "saga.nodes.sleep.SleepNode.forward",
        'state.progress == "pending"', 'state.progress != "ok"',
        (f"{SLEEP}::test_the_moment_is_decided_once_and_kept",),
    ),
    Removal(
        4, "a sleep has a timer", "saga.machine.instance.NodeState.due", "else self.until", "else None",
        (f"{SLEEP}::test_it_waits_for_as_long_as_was_decided_and_goes_on_by_itself",),
    ),
    Removal(
        4, "a saga that is undone sleeps no longer", "saga.nodes.sleep.SleepNode.turned",
        'progress == "asleep"', 'progress == "awake"',
        (f"{SLEEP}::test_a_cancel_undoes_the_saga_and_of_the_sleep_nothing_is_left",),
    ),
    Removal(
        4, "a sleep that ends in a pause is over", "saga.machine.timers.take_timer",
        "until is not None and path", "until is not None and not walk.instance.paused and path",
        (f"{SLEEP}::test_in_a_pause_it_goes_on_and_what_follows_waits_for_the_resume",),
    ),
    Removal(
        4, "a sleep that is not over stays in the record", "runtime.orchestrator.states._is_open",
        "state.progress in _OPEN", "False",
        (f"{SLEEP}::test_a_sleep_stays_in_the_record_however_many_steps_are_over",),
    ),
    Removal(
        5, "the saga's id follows from its key", "sources.saga_id_for",
        'derived_id("choros.saga", saga, key)', "fresh_id()",
        (f"{ORCHESTRATOR}::test_the_same_key_and_body_is_the_same_saga_also_at_once",),
    ),
    Removal(
        5, "another body under the same key is an error", "runtime.orchestrator.inputs._says_the_same",
        "record.digest == start.digest", "True",
        (f"{ORCHESTRATOR}::test_the_same_key_with_another_body_is_a_conflict",),
    ),
    Removal(
        5, "what begins a saga by a fact is its key, not the fact", "runtime.orchestrator.facts.AppFacts._begun",
        "one.key_of(fact)", "envelope.id", (f"{STARTS}::test_one_fact_is_one_saga",),
    ),
    Removal(
        6, "a fact that starts a saga is parked where that may be forgotten",
        "runtime.orchestrator.facts.FactMemory.check", "if fact.time <=", "if False and fact.time <=",
        (f"{STARTS}::test_a_fact_whose_saga_may_be_forgotten_is_parked",),
    ),
    Removal(
        6, "an event's id survives resends", "runtime.orchestrator.outboxes._read",
        "unsent.message or Envelope.loads(unsent.envelope)",
        "Envelope(**{**__import__('json').loads(unsent.envelope), 'id': unsent.id[::-1]})",
        (f"{ORCHESTRATOR}::test_what_a_crash_left_in_the_outbox_is_sent_under_its_own_id",),
    ),
    Removal(
        7, "inputs of one saga are folded",
        "runtime.orchestrator.decider.Decider.run", "[first, *self._waiting()]", "[first]",
        (f"{ORCHESTRATOR}::test_inputs_of_one_saga_in_a_batch_are_one_transition",),
    ),
    Removal(
        7, "only a commit rests on what is recalled",
        "runtime.orchestrator.decider.Decider._fold_all", "loaded[saga_id].recalled", "False",
        ("tests/runtime/test_recall.py::test_a_reply_is_not_parked_for_what_this_process_has_not_heard_of_yet",),
    ),
    Removal(
        7, "what was mine is known by its id", "runtime.orchestrator.inputs.sort", "work.id in known or", "",
        (f"{ORCHESTRATOR}::test_a_commit_whose_answer_is_lost_is_recognised_as_its_own",),
    ),
    Removal(
        7, "so is what was taken in long ago", "runtime.orchestrator.received.taken_in",
        "if loaded.entries[name]", "if loaded.entries[name] == name",
        ("tests/runtime/test_received.py::test_an_input_whose_id_is_apart_is_not_taken_in_again",),
    ),
    Removal(
        7, "only what is awaited was never taken in", "runtime.orchestrator.inputs.is_awaited",
        "state.leg.finish_by is not None or", "",
        ("tests/runtime/test_received.py::test_what_was_taken_in_is_not_awaited",),
    ),
    Removal(
        8, "a failure counts only for its own attempt", "saga.machine.answers._failed",
        "(answer.key.operation, answer.attempt)",
        "(answer.key.operation, leg.attempt)",
        (f"{ANSWERS}::test_rule_8_a_retryable_failure_counts_only_for_the_attempt_that_is_awaited",),
    ),
    Removal(
        8, "a late reply changes nothing", "saga.machine.answers._is_awaited", "return answer.key.round ==",
        "return True or 0 ==",
        ("tests/saga/test_walk.py",),
    ),
    Removal(
        9, "a cancel in the pivot's flight is only wanted", "saga.machine.walk.SagaWalk.withdraw",
        'elif "sent" in pivots:', "elif False:",
        (f"{PIVOT}::test_rule_9_a_cancel_while_the_pivot_is_in_flight_is_only_wanted",),
    ),
    Removal(
        9, "a pivot in doubt parks", "saga.machine.walk.SagaWalk.give_up",
        'or "in_doubt" not in leaf.turns_on', "",
        (f"{PIVOT}::test_rule_9_a_pivot_in_doubt_parks_and_is_never_compensated",),
    ),
    Removal(
        10, "an undeclared refusal is no refusal", "saga.machine.answers._may_refuse",
        "leaf.may_refuse(code, choice)", "True",
        (f"{ANSWERS}::test_rule_10_an_undeclared_refusal_is_a_retryable_failure",),
    ),
    Removal(
        10, "an undeclared refusal is not stored", "runtime.participant.execution.may_refuse", "and refused.code in",
        "or refused.code in",
        (PARTICIPANT,),
    ),
    Removal(
        10, "a retriable step has no refusals", "saga.nodes.retriable.Retriable.planned", "if command.refusals:",
        "if False:",
        (DECLARATION,),
    ),
    Removal(
        11, "an undo takes its own reply only as optional", "saga.parameters._checked",
        "need.optional and not optional", "False",
        (DECLARATION,),
    ),
    Removal(
        11, "what is passed over stays so", "saga.nodes.commanded.CommandNode._begun", "turn.pass_over(self.path)",
        'turn.note("passed_over", self.path)',
        (f"{CHOICES}::test_rule_11_nor_is_the_last_one_while_the_end_waits_for_a_person",),
    ),
    Removal(
        11, "what is chosen stays so", "saga.nodes.commanded.CommandNode._begun",
        "choice=self.action.choice(made.kind)", 'choice=""',
        (f"{CHOICES}::test_rule_11_what_is_chosen_is_sent_again_as_what_it_is",),
    ),
    Removal(
        11, "a choice is answered by its own reply", "saga.machine.answers.take_answer",
        "or _is_of_another(walk, leaf, answer)", "",
        (f"{CHOICES}::test_rule_11_the_reply_to_another_command_is_no_answer",),
    ),
    Removal(
        11, "the command that an undo asks for is kept", "saga.nodes.commanded.CommandNode._begun",
        'made.body if asked else ""', '""',
        (f"{CHOICES}::test_rule_11_an_undo_may_ask_for_the_command_that_it_undoes",),
    ),
    Removal(
        12, "a reply to an unknown version is set aside", "runtime.orchestrator.transition.Transitions._after",
        "undecided = record.undecided + kept", "undecided = record.undecided",
        (f"{ORCHESTRATOR}::test_a_reply_to_a_version_unknown_here_is_kept_for_a_worker_that_knows_it",),
    ),
    Removal(
        12, "an envelope names its saga's version", "runtime.orchestrator.transition.Envelopes._unsent",
        "saga_version=record.saga_version", "saga_version=record.saga_version + 1",
        (f"{ORCHESTRATOR}::test_every_message_names_its_saga_and_its_cause",),
    ),
    Removal(
        13, "nothing is sent while paused", "saga.machine.walk.SagaWalk.end", "self.instance.paused or", "",
        (f"{PEOPLE}::test_rule_13_paused_nothing_is_sent_until_resumed",),
    ),
    Removal(
        14, "a participant acknowledges after the confirm", "runtime.participant.participant.Participant._answer",
        "await self._replies.deliver(self._answer_of(received, result), leave)",
        "asyncio.ensure_future(self._replies.deliver(self._answer_of(received, result), leave)) and (leave(), '')",
        (f"{OUTBOX}::test_nothing_is_acknowledged_before_its_reply_is_confirmed", OUTBOX),
    ),
    Removal(
        14, "stored replies are scanned at the start", "runtime.participant.reply_outbox.DatabaseOutbox.unsent",
        "before is None or", "before is not None and",
        (f"{OUTBOX}::test_stored_replies_are_scanned_at_the_start",),
    ),
    Removal(
        14, "the outbox is scanned", "runtime.host.relay.Relay._scan", "self.dispatch(fresh)", "pass",
        (f"{ORCHESTRATOR}::test_what_a_crash_left_in_the_outbox_is_sent_under_its_own_id",),
    ),
    Removal(
        15, "a refusal takes the effect back", "runtime.participant.execution.Execution.outcome",
        "transaction.savepoint() if transaction else nullcontext()",
        "nullcontext()",
        (f"{PARTICIPANT}::test_a_refusal_takes_its_effect_back_and_stays",),
    ),
    Removal(
        15, "what a handler takes back, it takes back newest first", "store.local_undo.LocalUndo.take_back",
        "self._parts.pop()", "self._parts.pop(0)",
        (f"{UNDO}::test_both_movements_stand_and_the_refusal_says_what_was_taken_back",),
    ),
    Removal(
        15, "no refusal commits without what its handler takes back", "store.local_undo.LocalUndo.take_back",
        "result = work()", "result = None",
        (f"{UNDO}::test_both_movements_stand_and_the_refusal_says_what_was_taken_back",),
    ),
    Removal(
        15, "what a handler takes back commits with its refusal", "runtime.participant.execution.Execution._within",
        "not transaction.local_undo.taken_back", "True",
        (f"{UNDO}::test_both_movements_stand_and_the_refusal_says_what_was_taken_back",),
    ),
    Removal(
        15, "what cannot be taken back is rolled back", "store.local_undo.LocalUndo.take_back",
        "except Refused as refused:",
        "except Exception as refused:\n            self._taken_back.append(what)\n            return",
        (f"{UNDO}::test_whatever_else_is_raised_leaves_nothing_and_claims_nothing",),
    ),
    Removal(
        15, "a duplicate is told what was taken back", "runtime.participant.answers.kept",
        "return envelope", 'return replace(envelope, undone="")',
        (f"{UNDO}::test_a_duplicate_is_told_the_same_and_nothing_is_done_again",),
    ),
    Removal(
        15, "a savepoint that is rolled back takes its undo along", "store.standing.Standing.fail",
        "self.local_undo.drop(mark.added)", "pass",
        (f"{UNDO}::test_a_savepoint_that_is_rolled_back_takes_its_undo_along",),
    ),
    Removal(
        15, "a refusal is stored", "runtime.participant.execution.Execution._give",
        "await transaction.write_row(row)",
        'await transaction.write_row(row) if row.state != "refused" else None',
        (f"{PARTICIPANT}::test_a_refusal_takes_its_effect_back_and_stays",),
    ),
    Removal(
        16, "an undo settles an intent first", "runtime.participant.verdicts.on_undo",
        "_open(matter, done):\n        return Settle(done)",
        "_open(matter, done):\n        return nothing_to_undo(matter)",
        (f"{PROVIDER}::test_an_undo_settles_what_may_have_happened_and_then_takes_it_back",),
    ),
    Removal(
        16, "what was undone is finished by nobody", "runtime.participant.verdicts.on_undo",
        "buried(matter), done)", "(), done)",
        (f"{UNFINISHED}::test_an_undo_that_nobody_can_cancel_for_gets_the_token",),
    ),
    Removal(
        16, "the first word from outside counts", "runtime.participant.unfinished.Unfinished._job",
        "if row.state not in OPEN:", 'if row.state == "tombstone":',
        (f"{UNFINISHED}::test_twice_is_said_to_have_happened_and_makes_one_reply",),
    ),
    Removal(
        4, "what is finished from outside has a bound", "saga.machine.answers._unfinished",
        "if by <= walk.now:", "if False:",
        ("tests/saga/test_finished_later.py::test_past_its_bound_it_is_asked_once_more_and_then_in_doubt",),
    ),
    Removal(
        16, "a duplicate settles an intent first",
        "runtime.participant.verdicts.on_do", 'if done.state == "intent":', "if False:",
        (f"{PROVIDER}::test_a_crash_between_call_and_result_calls_again_under_the_same_key",),
    ),
    Removal(
        16, "that a provider knows nothing does not say that nothing happened",
        "runtime.participant.execution.Execution._within", "in ways or (handler,)", "in ways[:1] or (handler,)",
        (f"{CANCELLED}::test_what_hangs_is_cancelled_and_only_then_there_is_nothing_to_undo",),
    ),
    Removal(
        16, "what is still wanted is not cancelled", "app.handler.Handler.settling",
        "wanted or self.cancel", "self.cancel",
        (f"{CANCELLED}::test_what_is_still_wanted_is_not_cancelled",),
    ),
    Removal(
        16, "a provider is asked before it is cancelled or called again", "app.handler.Handler.settling",
        "if self.ask", "if False",
        (f"{CANCELLED}::test_what_has_happened_is_found_by_asking_and_undone",),
    ),
    Removal(
        16, "what is cancelled leaves a tombstone", "runtime.participant.verdicts.concluded",
        "outcome.code == CANCELLED", "False",
        (f"{CANCELLED}::test_a_close_cancels_what_hangs",),
    ),
    Removal(
        17, "a skip closes the key first", "saga.machine.acts._skip", 'leaf, "close", leaf', 'leaf, "do", leaf',
        (f"{PEOPLE}::test_rule_17_a_skip_closes_the_key_before_it_counts",),
    ),
    Removal(
        17, "an act is refused once the saga has moved on", "saga.machine.acts._still_parked",
        "state.parked and state.round == act.round and", "",
        (f"{PEOPLE}::test_rule_17_an_act_on_what_is_not_parked_comes_too_late", PEOPLE),
    ),
    Removal(
        18, "facts are numbered", "saga.machine.turn.Turn.release", "self._instance.seq + 1", "1",
        (f"{FACTS}::test_rule_18_a_number_is_given_at_release_not_while_held", FACTS),
    ),
    Removal(
        18, "identity is source, stream and number", "runtime.subscriber.inbox.inbox_key", "str(fact.seq)",
        "fact.id",
        (f"{SUBSCRIBER}::test_identity_is_source_stream_and_number",),
    ),
    Removal(
        18, "an inbox is its subscriber's own", "runtime.subscriber.inbox.inbox_key", "_FACT, subscriber, ", "_FACT, ",
        (f"{APART}::test_every_subscriber_hears_every_fact_once[subscribers in one scope-sqlite-plain]",),
    ),
    Removal(
        19, "a fact before the pivot is held", "saga.nodes.publish.PublishNode._publish", "if self.held:", "if False:",
        (f"{FACTS}::test_rule_19_a_fact_before_the_pivot_is_held_and_an_early_one_is_not",),
    ),
    Removal(
        19, "undoing drops what was held", "saga.nodes.publish.PublishNode.turned", '== "held"', '== "never"',
        (f"{FACTS}::test_rule_19_compensation_drops_the_held_and_takes_the_early_back",),
    ),
    Removal(
        19, "an early fact needs a retraction", "saga.nodes.publish.Publish.check_place",
        "self.early and self.retraction is None", "False",
        (DECLARATION,),
    ),
    Removal(
        24, "nothing but the service is bound to its commands", "transport.topology._subscribed",
        "Binding(names.facts, queue)", "Binding(names.commands, queue, 'payment')",
        ("tests/transport/test_topology.py",),
    ),
    Removal(
        2, "an undo reaches what was taken over under its original key",
        "saga.machine.walk.send", "state.owner or ", "",
        ("tests/saga/test_machine_rerun.py::test_rule_2_its_undo_reaches_what_it_keeps_under_the_original_keys",),
    ),
    Removal(
        2, "a saga that has not ended cannot be run again", "saga.machine.rerun.why_not", "if not instance.terminal:",
        "if False:",
        ("tests/saga/test_machine_rerun.py::test_rule_2_only_from_its_end",),
    ),
    Removal(
        2, "a saga has one successor", "saga.machine.rerun.why_not", "if instance.successor:", "if False:",
        ("tests/saga/test_machine_rerun.py::test_rule_2_it_has_one_successor_and_no_second",),
    ),
    Removal(
        20, "facts come out again under their old identity", "runtime.orchestrator.history.Happened.fact",
        "Envelope.loads(self.envelope)", 'Envelope(**{**json.loads(self.envelope), "seq": 1})',
        ("tests/facts/test_republishing.py::test_every_fact_since_then_comes_out_under_its_old_identity",),
    ),
    Removal(
        20, "a queue behind the fan-out never rejects", "transport.topology._subscribed", '"x-overflow": "drop-head"',
        '"x-overflow": "reject-publish"',
        ("tests/facts/test_rule_20.py",),
    ),
    Removal(
        20, "a fact that no queue takes counts as sent", "runtime.host.relay.Relay._settle", "or unbound", "",
        ("tests/runtime/test_relay.py::test_what_no_queue_takes_counts_as_sent_only_if_it_is_a_fact",),
    ),
    Removal(
        21, "never a lower number after a higher one", "runtime.subscriber.order.is_overtaken",
        "highest_of(mark) > fact.seq", "False",
        ("tests/facts/test_ordering.py::test_a_lower_number_after_a_higher_one_is_parked_and_not_handled",),
    ),
    Removal(
        22, "a late subscriber reads the log", "runtime.subscriber.catch_up.CatchUp.begin",
        "if place is None and not from_start:", "if True:",
        ("tests/facts/test_late_subscriber.py",),
    ),
    Removal(
        23, "an undo that overtakes its fact leaves a tombstone",
        "runtime.subscriber.effect_rows.EffectRows._undo", '"tombstone"',
        '"ok"',
        ("tests/runtime/test_reactions.py::test_rule_23_a_fact_that_was_taken_back_before_it_came_is_not_handled",),
    ),
    Removal(
        28, "what a savepoint takes back does not leave", "runtime.host.outbox_rows.keep_standing",
        "await transaction.read_row(one.row.key) == one.row", "True",
        (f"{SERVICE_OUTBOX}::test_what_does_not_stay_publishes_nothing",),
    ),
    Removal(
        28, "a fact says what it comes of", "runtime.host.outbox_rows.OutboxRows._message",
        '"causation_id": about.id', '"causation_id": ""',
        (f"{FLOWS}::test_rule_35_every_reaction_says_the_same_flow_and_its_stream_is_the_flow",),
    ),
    Removal(
        29, "what gives up leaves a tombstone", "runtime.subscriber.reactions.Reaction._give_up",
        'await self._rows(heard, transaction).leave("tombstone")', "None",
        (f"{GIVING_UP}::test_it_says_so_once_and_is_never_done",),
    ),
    Removal(
        30, "an undo that publishes does so where there was nothing", "runtime.subscriber.effect_rows.EffectRows._undo",
        "(self.stands or self.handler.publishes)", "self.stands",
        (f"{JOINS}::test_rule_29_what_refuses_has_done_nothing_so_nothing_is_undone",),
    ),
    Removal(
        31, "the first end wins", "runtime.subscriber.closing.Closing.check",
        "if row is not None and not (", "if False and not (",
        (f"{ENDS}::test_rule_31_a_good_end_behind_a_turn_is_too_late",),
    ),
    Removal(
        32, "that its time has passed is said", "desk.flow_tree._overdue", "rows.now - began > its.within", "False",
        ("tests/desk/test_flow_tree.py::test_a_flow_that_should_have_ended_is_told",),
    ),
    Removal(
        33, "a retraction is known to the flow", "runtime.orchestrator.transition.Transitions.__init__",
        ", **part.retracts", "",
        ("tests/runtime/test_flow_retraction.py::test_rule_33_its_retraction_reaches_the_flow_s_undoers",),
    ),
    Removal(
        38, "its queues are there before its first fact", "runtime.client.beginning.Beginning.begin",
        "await self._declare()\n    if not", "if not",
        ("tests/runtime/test_flows_begun.py::test_rule_38_who_cannot_have_it_there_begins_nothing",),
    ),
    Removal(
        35, "a service acts only on its own flows", "runtime.subscriber.facts.Admission._read",
        "not self._flows.wants(envelope)", "False",
        (f"{FLOWS}::test_rule_35_others_are_passed_over_and_counted",),
    ),
    Removal(
        35, "a reaction says which flow it is of", "runtime.host.outbox_rows.OutboxRows._flow_of",
        '{"flow": about.flow,', '{"flow": "",',
        (f"{FLOWS}::test_rule_35_every_reaction_says_the_same_flow_and_its_stream_is_the_flow",),
    ),
    Removal(
        40, "a repeated start is the same fact", "runtime.host.outbox_rows.OutboxRows.fact",
        "if begins and count:", "if False:",
        (f"{FLOWS}::test_a_handler_begins_one_once_however_often_it_is_asked",),
    ),
    Removal(
        40, "a service knows for a year which flows it has begun", "runtime.host.outbox_rows.OutboxRows.fact",
        '"begun" if begins else', "",
        ("tests/runtime/test_flow_begun_again.py::test_a_service_knows_for_a_year_which_flows_it_has_begun",),
    ),
    Removal(
        40, "a start that is told again is as old as the flow", "runtime.subscriber.reactions.Reaction._moment",
        "min(fact.time, began)", "fact.time",
        ("tests/runtime/test_flow_begun_again.py",),
    ),
    Removal(
        45, "a fact waits for the one before it", "runtime.host.service_outbox.ServiceOutbox.dispatch",
        "elif not one.after or", "elif True or",
        (f"{SERVICE_OUTBOX}::test_a_fact_waits_for_the_one_before_it_that_another_process_has",),
    ),
    Removal(
        39, "a reaction waits until all have come",
        "runtime.subscriber.effect_rows.EffectRows._named", "if len(came) < wanted:", "if False:",
        (f"{JOINS}::test_flows_are_apart",),
    ),
    Removal(
        39, "a tombstone lies on what is half full", "runtime.subscriber.effect_rows.EffectRows._undo",
        'if done is None or done.state == "waiting":', "if done is None:",
        (f"{JOINS}::test_rule_39_what_is_taken_back_half_full_is_not_filled_any_more",),
    ),
    Removal(
        23, "an effect has one cause", "runtime.subscriber.effect_rows.EffectRows._named",
        'if done is not None and (done.state != "waiting" or fact.type in came):', "if False:",
        (f"{JOINS}::test_rule_23_another_fact_is_a_second_cause_of_one_effect",),
    ),
    Removal(
        25, "the pivot waits for losers", "saga.nodes.commanded.CommandNode.forward", "turn.busy", "False",
        (f"{RACE}::test_the_first_wins_and_the_losers_are_undone_before_the_pivot_is_sent",),
    ),
    Removal(
        25, "no pivot stands in a parallel", "saga.nodes.parallel.Parallel.check",
        "any(node.pivot for node in declared_nodes(saga, self.branches))", "False",
        (f"{WHEN}::test_a_mistake_in_a_parallel_or_a_branch_is_a_sentence",),
    ),
    Removal(
        26, "losers are undone", "saga.nodes.parallel.RaceNode._joins", "turn.lose(way.path, self._nodes)", "pass",
        (f"{RACE}::test_a_saga_is_not_over_before_its_losers_are_undone",),
    ),
    Removal(
        26, "a saga waits for its losers", "saga.machine.walk.SagaWalk._walk", "and not self.busy", "",
        (f"{RACE}::test_a_saga_is_not_over_before_its_losers_are_undone",),
    ),
    Removal(
        26, "the first answer that was applied wins", "saga.nodes.parallel.RaceNode._joins",
        "sorted(over, key=lambda way: self._won_at(turn, way))", "list(over)",
        (f"{RACE}::test_of_two_answers_in_one_batch_the_one_that_was_applied_first_wins",),
    ),
    Removal(
        26, "enough have to succeed", "saga.nodes.parallel.QuorumNode.catches", "len(left) <= self.wins", "False",
        (f"{RACE}::test_fewer_than_enough_turn_the_saga",),
    ),
    Removal(
        26, "a scope is tried once", "saga.nodes.scope.ScopeNode.catches", "state.choice != TRIED", "False",
        (f"{RACE}::test_a_failure_on_the_other_way_turns_the_saga",),
    ),
    Removal(
        36, "what is under way when a saga turns is in doubt", "saga.nodes.commanded.CommandNode.turned",
        '== "sent"', '== "never"',
        (f"{PARALLEL}::test_what_the_others_are_doing_when_one_is_refused_is_in_doubt_and_undone_first",),
    ),
    Removal(
        36, "an undo that is under way stays as it is", "saga.nodes.commanded.CommandNode.turned",
        'state.leg and state.closes == "undo"', "False",
        (f"{RACE}::test_an_undo_of_a_loser_that_is_parked_stays_parked_when_the_saga_turns",),
    ),
    Removal(
        36, "all inputs are applied before one walk", "saga.machine.walk.SagaWalk.go_on",
        "self._goes_on = True", "self._goes_on = True; self.instance.paused or self.instance.terminal or self._walk()",
        (f"{PARALLEL}::test_rule_36_a_cancel_in_the_batch_comes_before_what_the_answers_would_send",),
    ),
    Removal(
        36, "what is unsent of one costs the other no attempt", "saga.machine.timers.take_timer",
        "path in fired.unsent", "fired.unsent",
        (f"{PARALLEL}::test_rule_36_what_is_unsent_of_one_costs_the_other_no_attempt",),
    ),
    Removal(
        36, "the newest is undone first", "saga.machine.turn.Turn.newest_first",
        "range(left - 1, above, -1)", "range(above + 1, left)",
        (f"{PARALLEL}::test_the_newest_is_undone_first_whichever_branch_it_is_in",),
    ),
    Removal(
        36, "a function that fails parks its own branch", "saga.machine.turn.Turn.attempt",
        "self.park(str(failed), failed.path)", "raise",
        (f"{PARALLEL}::test_one_that_is_parked_holds_nobody_but_itself",),
    ),
    Removal(
        42, "the declarations are compared", "runtime.orchestrator.recognition.recognise",
        'record.fingerprint not in ("", saga.fingerprint.hash)', "False",
        (f"{DRIFT}::test_rule_42_while_both_are_at_work_only_one_decides",),
    ),
    Removal(
        42, "what is stored must be readable",
        "runtime.orchestrator.recognition.recognise", "_check_body(message, body)", "pass",
        (f"{DRIFT}::test_rule_42_what_cannot_be_read_is_left_to_who_can",),
    ),
    Removal(
        42, "every commit carries the fingerprint", "runtime.orchestrator.transition.Transitions._transition",
        "fingerprint=saga.fingerprint.hash", "fingerprint=record.fingerprint",
        (f"{DRIFT}::test_rule_42_an_old_record_gets_its_fingerprint_with_its_next_commit",),
    ),
    Removal(
        42, "a move needs all that was touched", "saga.difference.why_not_moved", "now != (path, said)", "False",
        (f"{DRIFT}::test_rule_42_no_instance_moves_where_anything_that_it_has_come_to_differs",),
    ),
    Removal(
        1, "a renamed step keeps its keys", "runtime.orchestrator.transition.Envelopes.unsent",
        "names = renaming(decision.instance)", "names = renaming(NEVER)",
        (f"{RENAMED}::test_a_late_reply_and_every_undo_go_by_the_keys_of_before",),
    ),
    Removal(
        1, "a reply is known by the name of before", "runtime.orchestrator.replies.known_here",
        "names.here(key.path)", "key.path",
        (f"{RENAMED}::test_a_late_reply_and_every_undo_go_by_the_keys_of_before",),
    ),
    Removal(
        2, "a rerun hands the names on", "runtime.client.rerun._start", "instance.updated, instance.renamed,",
        "instance.updated,",
        (f"{RENAMED}::test_a_rerun_of_a_renamed_saga_undoes_under_the_original_keys",),
    ),
    Removal(
        42, "no other step has a name of before", "runtime.orchestrator.move._with_names",
        " or why_taken(renaming(after), here)", "",
        (f"{RENAMED}::test_what_cannot_be_renamed_so_is_refused_and_nothing_is_lost",),
    ),
    Removal(
        42, "timers are handed out by fingerprint", "app.app.App.kinds", "saga.fingerprint.hash", '""',
        (f"{DRIFT}::test_rule_42_no_timer_of_another_declaration_fires",),
    ),
    Removal(
        47, "terminating closes what is open", "saga.machine.acts._stop",
        'elif state.leg and state.leg.operation != "release":\n        _close(walk, leaf)',
        "elif state.leg:\n        walk.change_node(path, leg=None)",
        (f"{TERMINATING}::test_rule_47_an_open_command_is_closed_before_the_saga_ends",),
    ),
    Removal(
        47, "what cannot be closed is listed", "saga.machine.walk.SagaWalk.leave_in_doubt", 'progress="in_doubt"',
        'progress="closed"',
        (f"{TERMINATING}::test_rule_47_what_cannot_be_closed_stays_in_doubt",),
    ),
    Removal(
        47, "while something is in doubt it is not run again", "saga.machine.rerun.why_not",
        'if state.progress == "in_doubt"', "if False",
        (f"{TERMINATING}::test_rule_47_while_something_is_in_doubt_it_is_not",),
    ),
    Removal(
        47, "what is terminating takes no act", "saga.machine.acts.take_act",
        "walk.instance.terminating and not walk.instance.terminal", "False",
        (f"{TERMINATING}::test_rule_47_nothing_moves_it_any_more",),
    ),
    Removal(
        1, "the path of a command key holds the item", "saga.machine.walk.send", "leaf.path, state.round",
        "declared(leaf.path), state.round",
        (f"{EACH}::test_from_the_first_item_to_the_end",),
    ),
    Removal(
        1, "the items are fixed on entry", "saga.nodes.each.EachNode.forward", 'state.progress == "pending"', "True",
        (f"{EACH}::test_the_items_are_asked_for_once",),
    ),
    Removal(
        36, "an item is over when all of it is", "saga.nodes.each.EachNode._is_over", "if over:", "if True:",
        (f"{EACH}::test_from_the_first_item_to_the_end",),
    ),
    Removal(
        36, "so many items at a time", "saga.nodes.each.EachNode.forward", "len(left) < self.at_once and", "",
        (f"{EACH}::test_from_the_first_item_to_the_end",),
    ),
    Removal(
        36, "replies are collected in the order of the items", "saga.machine.turn.Turn._items",
        "range(self.state(loop).items)", "reversed(range(self.state(loop).items))",
        (f"{EACH}::test_replies_are_collected_in_the_order_of_the_items_and_undone_in_that_of_their_coming",),
    ),
    Removal(
        36, "a function in an item means the same item's steps", "saga.paths.same_item",
        'asker[: asker.index("]", len(loop)) + 1]', 'f"{loop}[0]"',
        (f"{EACH}::test_from_the_first_item_to_the_end",),
    ),
    Removal(
        43, "what lies apart is found by its number", "runtime.orchestrator.states.states_and_entries",
        "if one.number and path in written", "if False",
        ("tests/saga/test_each_apart.py::test_all_are_undone_in_the_order_of_their_coming",),
    ),
    Removal(
        43, "the newest node of the saga stays in its record", "runtime.orchestrator.states.states_and_entries",
        "inside == ROOT or", "",
        (f"{PARALLEL}::test_what_stands_before_branches_that_lie_apart_is_undone_and_so_are_they",),
    ),
    Removal(
        1, "a repetition is bounded", "saga.nodes.repeat.RepeatNode._begin",
        "state.begun >= self.at_most * state.round", "False",
        (f"{REPEAT}::test_never_enough_all_is_undone_the_last_time_first",),
    ),
    Removal(
        1, "a person allows as many times again", "saga.nodes.repeat.RepeatNode._begin",
        "self.at_most * state.round", "self.at_most",
        (f"{REPEAT}::test_never_enough_behind_the_pivot_it_waits_for_a_person_who_allows_as_many_again",),
    ),
    Removal(
        1, "a repetition is not asked again of a time that was not enough", "saga.nodes.repeat.RepeatNode._is_enough",
        'turn.state(time).progress == "ok"', "False",
        (f"{REPEAT}::test_never_enough_behind_the_pivot_it_waits_for_a_person_who_allows_as_many_again",),
    ),
    Removal(
        36, "behind a repetition the replies of the last time are known", "saga.machine.turn.Turn._latest",
        "max(0, self.state(loop).begun - 1)", "0",
        (f"{REPEAT}::test_it_is_done_until_it_is_enough",),
    ),
    Removal(
        42, "the database of a local step is told from a queue", "saga.nodes.local.Local.planned",
        'kind="local", ', "",
        (f"{LOCAL}::test_rule_42_its_database_stands_in_the_fingerprint",),
    ),
    Removal(
        44, "a local command goes over no broker", "runtime.orchestrator.transition.Envelopes.unsent",
        '"local" if send.to in self.local else "commands"', '"commands"',
        ("tests/runtime/test_local.py::test_rule_44_its_command_is_kept_apart",),
    ),
    Removal(
        44, "an answer counts as sent once it is decided on", "transport.handover.Handed.became",
        "if self.settled.done():", "if True:",
        (f"{HANDOVER}::test_rule_44_an_answer_that_is_not_settled_in_time_is_sent_again_and_is_the_same",),
    ),
    Removal(
        44, "what nobody here handles is left to whoever does", "transport.handover.Handover._hand_over",
        "if not known or", "if",
        (f"{HANDOVER}::test_rule_44_what_nobody_here_handles_is_left_to_whoever_does",),
    ),
    Removal(
        3, "who was undone in another saga lives as long as that", "saga.machine.walk._hangs_on",
        '(ended or state.progress == "ok")', '(state.progress == "ok")',
        (f"{NESTED}::test_rule_44_an_undo_before_the_start_leaves_a_tombstone",),
    ),
    Removal(
        17, "a skip has a nested saga undone first", "saga.machine.nested._obey", 'walk.withdraw("cancelled")', "pass",
        (f"{NESTED}::test_rule_17_a_skip_has_it_undone_first",),
    ),
    Removal(
        25, "a saga with a pivot is the pivot", "saga.nodes.nested.Nested.pivot",
        "bool(outline and outline.pivots) and", "False and",
        (f"{NESTED}::test_rule_25_a_saga_with_a_pivot_is_the_pivot",),
    ),
    Removal(
        25, "a cancel is handed on to the saga that is the pivot", "saga.nodes.nested.NestedNode.forward",
        "turn.instance.wanted", "False",
        (f"{NESTED}::test_rule_25_a_cancel_while_it_is_in_flight_is_wanted_and_handed_on_and_its_answer_decides",),
    ),
    Removal(
        44, "a nested saga that is over is revocable", "saga.machine.walk.SagaWalk._waits_for_parent",
        "parent is None or parent.detached or parent.released", "True",
        (f"{NESTED}::test_rule_44_a_completed_nested_saga_is_revocable_until_the_pivot_is_passed",),
    ),
    Removal(
        27, "a wait's time has not come before it was looked what is kept", "saga.machine.timers.take_timer",
        " and path not in fired.blind", "", (f"{HEARD}::test_its_time_comes_at_once",),
    ),
    Removal(
        27, "nothing else puts that off", "saga.nodes.wait.WaitNode._look", "if state.unlooked:", "if False:",
        (f"{HEARD}::test_what_else_happens_does_not_put_its_time_off",),
    ),
    Removal(
        27, "a signal of a service comes by its own way", "runtime.orchestrator.signals.read_signal",
        'if exchange != names.way_of("signal", envelope.source):', "if False:",
        (f"{WIRED}::test_who_was_not_given_it_is_parked_and_who_takes_anothers_name_too",),
    ),
    Removal(
        44, "from the first release on a cancel comes too late", "saga.machine.walk.SagaWalk.withdraw",
        "instance.ending or instance.stage", "instance.stage",
        (f"{NESTED}::test_rule_44_from_the_first_release_on_a_cancel_comes_too_late",),
    ),
    Removal(
        44, "nobody else undoes what is revocable", "saga.machine.walk.SagaWalk.withdraw",
        "instance.ending or instance.stage", "instance.ending",
        (f"{NESTED}::test_rule_44_nobody_else_undoes_what_the_other_saga_relies_on",),
    ),
    Removal(
        44, "what is revocable is undone", "saga.machine.nested._obey",
        'instance.stage == "revocable" and not parent.released', "False",
        (f"{NESTED}::test_rule_44_it_is_undone_by_its_own_compensations_newest_first",),
    ),
    Removal(
        44, "an undo that comes late undoes nothing", "saga.machine.nested._obey",
        'instance.stage == "revocable" and not parent.released', 'instance.stage == "revocable"',
        (f"{NESTED}::test_rule_47_terminated_before_its_undo_is_heard_it_stands",),
    ),
    Removal(
        44, "a detached start is held like a fact",
        "saga.nodes.nested.NestedNode._come_to", "if self.held:", "if False:",
        (f"{NESTED}::test_rule_44_a_detached_one_is_begun_when_the_saga_cannot_be_undone_any_more",),
    ),
    Removal(
        47, "what is released is not closed", "saga.machine.acts._stop", ' and state.leg.operation != "release"', "",
        (f"{NESTED}::test_rule_47_terminated_while_it_is_released_it_still_is",),
    ),
    Removal(
        46, "a queued saga does nothing", "saga.machine.walk.SagaWalk.end", "not self.instance.queued or", "True or",
        (f"{LOCK}::test_rule_46_it_does_nothing_before_it_has_the_lock",),
    ),
    Removal(
        46, "keys are taken in one order", "saga.lock.Lock.keys_of",
        'sorted({f"{self.name}:{key}" for key in keys})', 'dict.fromkeys(f"{self.name}:{key}" for key in keys)',
        (f"{LOCK}::test_rule_46_keys_are_taken_in_one_order",),
    ),
    Removal(
        46, "a child inherits its parent's keys", "saga.machine.machine.begin", "if key not in parent.locks", "",
        (f"{LOCK}::test_rule_46_a_nested_saga_has_the_keys_of_the_one_around_it",),
    ),
    Removal(
        46, "who asks later waits behind", "runtime.orchestrator.lock_row.LockRow.asked",
        "(*self.waiting, Asking(saga_id, now))", "(Asking(saga_id, now), *self.waiting)",
        (f"{LOCKS}::test_rule_46_one_at_a_time_in_the_order_in_which_they_asked",),
    ),
    Removal(
        42, "the fingerprint names the lock", "saga.saga._fingerprint", "if lock else []", "if False else []",
        (f"{LOCK}::test_rule_42_the_fingerprint_names_the_lock_and_nothing_more_of_it",),
    ),
)  # fmt: skip
