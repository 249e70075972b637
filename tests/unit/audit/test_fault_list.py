"""The list of tampering and faults that are detected or survived: each has its tests, by name.

The numbers and words are those of the design; a test that is renamed or dropped is missed here.
"""

import ast
from pathlib import Path

import pytest

AUDIT = Path(__file__).parent
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
FAULTS = {
    "1 body bit": "test_verify.test_changed_byte_of_an_entry_is_found",
    "2 indexed column edited, body not": (
        "test_verify.test_changed_column_is_found_though_the_entry_is_whole"
    ),
    "3 leaf hash": "test_verify.test_changed_entry_with_its_hash_is_found",
    "4 delete middle": "test_verify.test_deleted_entry_is_found_though_the_rest_moved_up",
    "5 delete tail": "test_verify.test_deleted_tail_is_found",
    "6 insert": "test_verify.test_inserted_entry_is_found",
    "7 swap": "test_verify.test_swapped_entries_are_found",
    "8 duplicate": "test_log_faults.test_duplicate_of_an_entry_is_found",
    "9 replay across tenants": "test_verify.test_entry_of_another_tenant_replayed_is_found",
    "10 truncate with older checkpoint": (
        "test_verify.test_deleted_tail_with_head_is_found_by_the_checkpoints_beyond"
    ),
    "11 whole database restored": (
        "test_verify.test_log_restored_from_an_older_copy_contradicts_what_was_kept"
    ),
    "12 fork of the same size": (
        "test_verify.test_fork_of_the_same_size_contradicts_what_was_kept"
    ),
    "13 re-signed rewrite": (
        "test_verify.test_rewrite_that_was_signed_again_contradicts_what_was_kept"
    ),
    "14 wrong key": "test_verify.test_other_key_or_origin_does_not_verify",
    "15 swapped origin": (
        "test_checkpoint.test_another_origin_is_refused_even_if_the_key_signed_it"
    ),
    "16 wrong key id": "test_checkpoint.test_wrong_key_id_is_refused",
    "17 stripped signature": "test_checkpoint.test_stripped_signature_is_refused",
    "18 size off by one": "test_verify.test_changed_head_or_checkpoint_is_found",
    "19 tile edited": "test_tiles.test_edited_tile_is_found",
    "20 tile missing": "test_tiles.test_missing_tile_is_found",
    "21 partial tile as full": ("test_tiles.test_partial_tile_in_the_place_of_a_full_one_is_found"),
    "22 entry against tile": "test_tiles.test_entry_that_is_not_the_one_in_its_tile_is_found",
    "23 proof of another index": "test_merkle.test_proof_of_another_index_fails",
    "24 padded proof": "test_merkle.test_longer_or_shorter_inclusion_proof_fails",
    "25 node as leaf": "test_merkle.test_node_does_not_pass_as_a_leaf",
    "26 duplicate JSON keys, reordering": "test_events.test_bytes_in_another_form_are_no_entry",
    "27 clock backwards": (
        "test_log_faults.test_clock_that_jumps_changes_no_order_and_breaks_nothing"
    ),
    "28 anchor removed": "test_anchors.test_removed_anchor_is_found",
    "29 anchor contradicted": ("test_anchors.test_log_of_another_history_contradicts_the_anchor"),
    "30 key revoked": "test_anchors.test_anchor_whose_key_was_revoked_since_still_holds",
    "31 kill -9 before, during, after commit": (
        "test_durability.test_nothing_acknowledged_is_lost_when_the_process_is_killed"
    ),
    "32 disk full": "test_durability.test_full_disk_refuses_entries_until_there_is_room",
    "33 read-only file system": "test_durability.test_read_only_file_system_stops_the_start",
    "34 database down": "test_postgres_log.test_connection_that_the_server_cuts_refuses_one_batch",
    "35 slow fsync": (
        "../gateway/test_recorder."
        "test_slow_write_is_an_unavailable_log_and_is_retracted_once_it_lands"
    ),
    "36 torn WAL": (
        "test_log_faults.test_torn_write_ahead_log_gives_a_shorter_log_that_an_anchor_contradicts"
    ),
    "37 two sequencers": "test_sequencer.test_two_processes_share_a_log",
    "38 ambiguous commit retried": (
        "test_sequencer.test_retry_of_a_recorded_event_keeps_its_place"
    ),
    "39 PDF bit flip": "examination/test_report_signature.test_flip_of_a_bit_anywhere_is_noticed",
    "40 PDF revision appended": (
        "examination/test_report_signature.test_appended_revision_is_noticed"
    ),
    "41 PDF of another period": (
        "examination/test_report_command.test_report_of_another_framework_or_period_is_refused"
    ),
    "42 OSCAL and PDF disagree": (
        "examination/test_report_recheck.test_summary_that_contradicts_itself_needs_no_log"
    ),
    "43 shredded subject still verifies": (
        "test_retention.test_shredded_subject_is_gone_and_the_log_verifies"
    ),
    "44 pruned prefix still verifies": (
        "test_retention.test_pruned_log_verifies_and_so_do_proofs_old_and_new"
    ),
    "45 dangling intent": (
        "test_durability.test_answer_that_was_lost_with_its_process_is_closed_as_unknown"
    ),
    "46 event over 64 KiB": ("test_events.test_event_over_the_limit_is_refused_and_at_it_taken"),
    "47 empty period": (
        "examination/test_report_command."
        "test_period_without_entries_gives_a_report_that_evidences_nothing"
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_has_its_test(fault):
    file, _, name = FAULTS[fault].rpartition(".")
    assert name.startswith("test_")
    tree = ast.parse((AUDIT / f"{file}.py").read_text(encoding="utf-8"))
    assert name in {each.name for each in tree.body if isinstance(each, FUNCTION)}


def test_list_is_whole():
    assert [int(each.partition(" ")[0]) for each in FAULTS] == list(range(1, 48))
