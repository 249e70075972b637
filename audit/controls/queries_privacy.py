"""Queries on what personal data was handled, why, and who else got it.

The log holds no text. What these know of health information is what callers stated and what
detectors counted; where neither is recorded they conclude NO_DATA.
"""

from audit.controls.findings import contradicted, counted, no_data, share_evidenced
from audit.controls.records import Records
from audit.controls.verdicts import Finding

UNMEASURED = -1


def minimum_necessary(records: Records) -> Finding:
    """Judge whether requests name purpose and class of data. 164.502(b), 164.514(d)(2)."""
    row = records.row("minimum_necessary")
    if not row["requests"]:
        return no_data("No request was let in during the period.", "minimum_necessary")
    if not row["purposed"] + row["classified"]:
        return no_data(
            f"None of {counted(row['requests'], 'request')} names a purpose or a class of data.",
            "minimum_necessary",
        )
    return share_evidenced(
        f"Of {counted(row['requests'], 'request')}, {row['purposed']:,} name their purpose, "
        f"{row['classified']:,} their class of data, and {row['both']:,} both.",
        "minimum_necessary",
        "data_handling",
    )


def identifiers_found(records: Records) -> Finding:
    """Judge what detectors of identifiers found. 164.514(b)(2)."""
    requests = records.row("minimum_necessary")["requests"]
    detectors = records.rows("detectors")
    looked = sum(each["requests"] for each in detectors)
    if not looked:
        return no_data("No request records what a detector of identifiers found.", "detectors")
    found = sum(each["found"] for each in records.rows("identifiers"))
    recall = "; ".join(f"{each['detector']}: {_recall(each['recall_milli'])}" for each in detectors)
    return share_evidenced(
        f"Detectors looked at {looked:,} of {counted(requests, 'request')} and counted "
        f"{counted(found, 'identifier')}. They do not find all: {recall}.",
        "detectors",
        "identifiers",
    )


def pseudonyms(records: Records) -> Finding:
    """Judge whether persons go under codes of their own. 164.514(c)."""
    requests = records.row("minimum_necessary")["pseudonymous"]
    if not requests:
        return no_data("No request carries a pseudonym.", "minimum_necessary")
    return share_evidenced(
        f"Under a pseudonym that the caller gave: {counted(requests, 'request')}. How the code is "
        "made, and who can undo it, is not on record here.",
        "minimum_necessary",
    )


def disclosures(records: Records) -> Finding:
    """Judge whether what left the gateway is accounted for. 164.528(b), 164.514(d)(3)."""
    row = records.row("disclosure_counts")
    if row["unnamed"]:
        return contradicted(
            f"Of {counted(row['disclosed'], 'disclosure')}, {row['unnamed']:,} name no recipient.",
            "disclosure_counts",
            "disclosures",
        )
    if not row["requests"] + row["disclosed"]:
        return no_data("No request ended in the period.", "disclosure_counts")
    if not row["disclosed"]:
        return share_evidenced(
            f"No disclosure by the gateway is recorded: all {row['requests']:,} requests were "
            "answered on this machine.",
            "disclosure_counts",
        )
    return share_evidenced(
        f"Recorded with recipient and time: {counted(row['disclosed'], 'disclosure')}, "
        f"{row['pseudonymous']:,} of them about a person named by pseudonym.",
        "disclosure_counts",
        "disclosures",
    )


def processing_records(records: Records) -> Finding:
    """Judge whether processing is recorded with purpose and recipients. GDPR 30(1), 30(2)."""
    row, left = records.row("minimum_necessary"), records.row("disclosure_counts")
    if not row["requests"]:
        return no_data("No request was let in during the period.", "minimum_necessary")
    return share_evidenced(
        f"Recorded with time, caller, model and outcome: {counted(row['requests'], 'request')}, "
        f"of which {row['purposed']:,} name a purpose and {row['classified']:,} a class of data. "
        f"Sent to others: {left['disclosed']:,}, {left['unnamed']:,} of them without a recipient.",
        "minimum_necessary",
        "data_handling",
        "disclosure_counts",
    )


def _recall(milli: int) -> str:
    if milli == UNMEASURED:
        return "recall not measured"
    return f"measured recall {milli // 10}.{milli % 10} %"
