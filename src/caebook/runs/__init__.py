"""Runs: trained networks as ONNX files, with the record of how they were made."""

from caebook.errors import RunError
from caebook.runs.inference import BATCH, Network
from caebook.runs.names import parse_id, run_id
from caebook.runs.record import MODELS, SCHEMA, Record
from caebook.runs.save import TOLERANCE, save
from caebook.runs.store import Run, find, list_runs, load, read

__all__ = [
    "BATCH",
    "MODELS",
    "SCHEMA",
    "TOLERANCE",
    "Network",
    "Record",
    "Run",
    "RunError",
    "find",
    "list_runs",
    "load",
    "parse_id",
    "read",
    "run_id",
    "save",
]
