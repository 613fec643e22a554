"""Runs: trained networks as ONNX files, with the record of how they came to be."""

from caebook.errors import RunError
from caebook.runs.store import (
    BATCH,
    FIELDS,
    MODELS,
    SCHEMA,
    TOLERANCE,
    Run,
    check_record,
    find,
    list_runs,
    load,
    parse_id,
    read,
    run_id,
    save,
)

__all__ = [
    "BATCH",
    "FIELDS",
    "MODELS",
    "SCHEMA",
    "TOLERANCE",
    "Run",
    "RunError",
    "check_record",
    "find",
    "list_runs",
    "load",
    "parse_id",
    "read",
    "run_id",
    "save",
]
