"""Statements sent together to a real PostgreSQL, and what comes back."""

import pytest

from audit import exchange as exchanging
from audit.exchange import Exchange, Refused, array, integer, read_integer

psycopg = pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")


@pytest.fixture
def connection(database):
    # Not its own context: that would commit, and after an error it is to be dropped.
    made = psycopg.connect(database, autocommit=True)
    yield made
    made.close()


@pytest.fixture
def exchange(connection):
    return Exchange(connection.pgconn, pq=psycopg.pq, prepared={})


def test_answers_come_in_the_order_of_the_statements(exchange):
    for number in range(3):
        exchange.send("SELECT $1::bigint + 1 AS next UNION ALL SELECT 7", integer(number))
    answers = exchange.answers()
    assert [[read_integer(row[0]) for row in rows] for rows in answers] == [[1, 7], [2, 7], [3, 7]]
    exchange.send("SELECT 1 WHERE false")
    assert exchange.answers() == [[]]


@pytest.mark.parametrize("number", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_number_comes_back_the_same(exchange, number):
    exchange.send("SELECT $1::bigint", integer(number))
    assert read_integer(exchange.answers()[0][0][0]) == number


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("bigint", []),
        ("bigint", [0, -1, 2**63 - 1, -(2**63)]),
        ("text", []),
        ("text", ["", "a", None, "\u00e9\U0001f600", '{"a":"\\"}', "NULL"]),
        ("bytea", [b"", b"\x00\xff", b"\\x00"]),
    ],
    ids=str,
)
def test_array_says_to_the_server_what_it_holds(exchange, connection, kind, values):
    connection.execute(f"CREATE TABLE kept (n serial, value {kind})")
    insert = f"INSERT INTO kept (value) SELECT * FROM unnest($1::{kind}[])"  # noqa: S608 - Ours.
    exchange.send(insert, array(kind, values))
    exchange.answers()
    stored = connection.execute("SELECT value FROM kept ORDER BY n").fetchall()
    assert [value for (value,) in stored] == values


def test_refusal_names_the_first_cause_and_nothing_behind_it_is_run(exchange, connection, database):
    connection.execute("CREATE TABLE kept (value bigint PRIMARY KEY)")
    insert = "INSERT INTO kept VALUES ($1)"
    exchange.send("BEGIN")
    for number in (1, 1, 2):
        exchange.send(insert, integer(number))
    exchange.send("COMMIT")
    with pytest.raises(Refused, match=r"^duplicate key") as refused:
        exchange.answers()
    assert refused.value.sqlstate == "23505"
    connection.close()
    with psycopg.connect(database) as other:
        assert other.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_much_both_ways_at_once_does_not_lock_up(exchange):
    # More than both sides' buffers hold: each must read while it writes.
    big = b"\xa5" * (1 << 20)
    for _ in range(24):
        exchange.send("SELECT $1::bytea", big)
    assert exchange.answers() == [[(big,)]] * 24


def test_statement_is_prepared_once_a_connection(connection):
    prepared = {}
    for _ in range(3):
        again = Exchange(connection.pgconn, pq=psycopg.pq, prepared=prepared)
        again.send("SELECT 1::bigint")
        assert again.answers() == [[(integer(1),)]]
    assert len(prepared) == 1
    count = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'sealgate%'"
    assert connection.execute(count).fetchone() == (1,)


def test_server_that_goes_away_is_told(exchange, connection, database):
    pid = connection.info.backend_pid
    exchange.send("SELECT pg_sleep(60)")
    with psycopg.connect(database, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
    with pytest.raises((Refused, psycopg.Error)):
        exchange.answers()


@pytest.mark.parametrize(
    ("statement", "answer"),
    [("COPY (SELECT 1) TO STDOUT", "COPY_OUT"), ("", "EMPTY_QUERY")],
    ids=["copy", "nothing"],
)
def test_answer_of_another_kind_is_refused(exchange, statement, answer):
    exchange.send("SELECT 1::bigint")
    exchange.send(statement)
    with pytest.raises(Refused, match=f"^the server answered {answer}$"):
        exchange.answers()


def test_exchange_that_ends_without_the_servers_word_is_refused(exchange, monkeypatch):
    # The connection ends after the last statement's answer and before the end of the exchange.
    results = type(exchange)._result

    def cut(each):
        result = results(each)
        over = result is not None and result.status == psycopg.pq.ExecStatus.PIPELINE_SYNC
        return None if over else result

    monkeypatch.setattr(type(exchange), "_result", cut)
    exchange.send("SELECT 1::bigint")
    with pytest.raises(Refused, match="gone"):
        exchange.answers()


def test_silent_server_is_waited_for_no_longer_than_its_limit(exchange, monkeypatch):
    monkeypatch.setattr(exchanging, "SILENCE_LIMIT_S", 0.1)
    exchange.send("SELECT pg_sleep(3600)")
    with pytest.raises(Refused, match=r"did not answer within 0\.1 s"):
        exchange.answers()


def test_server_that_waits_for_its_turn_may_be_silent_for_longer(connection, monkeypatch):
    monkeypatch.setattr(exchanging, "SILENCE_LIMIT_S", 0)
    patient = Exchange(connection.pgconn, pq=psycopg.pq, prepared={}, turn_limit_s=60)
    patient.send("SELECT pg_sleep(0.2)")
    patient.send("SELECT 1::bigint")
    assert patient.answers()[1] == [(integer(1),)]
