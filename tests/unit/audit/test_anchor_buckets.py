"""A bucket with object lock: the object cannot go, and a log that it contradicts is found."""

from datetime import UTC, datetime, timedelta

import pytest

from audit import anchoring
from audit.anchors.s3 import Bucket
from audit.errors import AnchorFailed, LogTampered

boto3 = pytest.importorskip("boto3", reason="the extra `anchors` is not installed")
mock_aws = pytest.importorskip("moto", reason="moto is not installed").mock_aws

# moto calls what Python has deprecated since.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def client(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.client("s3", region_name="us-east-1")


@pytest.fixture
def bucket(client):
    client.create_bucket(Bucket="anchors", ObjectLockEnabledForBucket=True)
    return Bucket(client, "anchors", prefix="ward/", retention_days=30)


@pytest.fixture
def filled(log, make):
    log.record(*(make.system(f"sys_{number}") for number in range(3)))
    return log


def now_ms():
    return int(datetime.now(UTC).timestamp() * 1000)


def attempt(log, place):
    (told,) = anchoring.anchor(log.engine, [place], now_ms=now_ms())
    return told.problem


def test_checkpoint_lies_under_a_lock_that_its_owner_cannot_lift(filled, bucket, client):
    assert attempt(filled, bucket) is None
    key = "ward/checkpoint-00000000000000000003.note"
    found = client.head_object(Bucket="anchors", Key=key)
    version = found["VersionId"]
    assert found["ObjectLockMode"] == "COMPLIANCE"
    assert found["ObjectLockRetainUntilDate"] > datetime.now(UTC) + timedelta(days=29)
    with pytest.raises(client.exceptions.ClientError, match="AccessDenied"):
        client.delete_object(Bucket="anchors", Key=key, VersionId=version)
    assert [head.size for head in anchoring.check(filled.engine, [bucket], **filled.trust)] == [3]


def test_later_object_of_the_same_name_does_not_hide_the_first(filled, bucket, client, make):
    attempt(filled, bucket)
    key = "ward/checkpoint-00000000000000000003.note"
    client.put_object(Bucket="anchors", Key=key, Body=b"nothing")
    with pytest.raises(LogTampered, match="never signed"):
        anchoring.check(filled.engine, [bucket], **filled.trust)


def test_bucket_without_lock_is_refused(filled, client):
    client.create_bucket(Bucket="plain")
    assert attempt(filled, Bucket(client, "plain")) is not None


def test_bucket_that_is_not_there_is_told(filled, client):
    assert "did not take" in attempt(filled, Bucket(client, "nothing"))
    with pytest.raises(AnchorFailed, match="cannot be read"):
        anchoring.check(filled.engine, [Bucket(client, "nothing")], **filled.trust)


def test_anchor_that_the_bucket_lost_is_found(filled, bucket):
    attempt(filled, bucket)
    filled.sql(["UPDATE anchor SET receipt = CAST('gone' || char(10) || 'v' AS BLOB)"])
    with pytest.raises(LogTampered, match="lost"):
        anchoring.check(filled.engine, [bucket], **filled.trust)
