"""Records on disk: partition, combine, spill, merge.

Pure code on `Files`: no asyncio, no clock, no network, no word about jobs. Clients need
`read_records`; the worker uses all of it. Start reading in `format.py`.
"""

from peerdisco.dataflow.errors import BadRecord, CorruptRecords, UnsafeRecord
from peerdisco.dataflow.files import Files
from peerdisco.dataflow.format import MAGIC, Batch, RecordWriter, is_record_stream, read_batches
from peerdisco.dataflow.keys import default_partition
from peerdisco.dataflow.records import chain_reader, read_records
from peerdisco.dataflow.segments import Segment

__all__ = [
    "read_records",
    "chain_reader",
    "RecordWriter",
    "Batch",
    "read_batches",
    "is_record_stream",
    "MAGIC",
    "default_partition",
    "Segment",
    "Files",
    "BadRecord",
    "CorruptRecords",
    "UnsafeRecord",
]
