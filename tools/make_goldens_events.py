#!/usr/bin/env python3
"""Golden of a TensorBoard event file: the bytes that the tensorboard package writes.

    python3 tools/make_goldens_events.py tests/golden/train/events.bin
    python3 tools/make_goldens_events.py --read FILE      # what tensorboard reads in a file
"""
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def scalars(wall_time, step, values):
    summary = Summary(value=[Summary.Value(tag=t, simple_value=v) for t, v in values])
    return Event(wall_time=wall_time, step=step, summary=summary)


def main():
    if sys.argv[1] == "--read":
        for event in LegacyEventFileLoader(sys.argv[2]).Load():
            print(event.step, [(v.tag, v.simple_value) for v in event.summary.value],
                  event.file_version)
        return
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    with open(out, "wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=1.5, file_version="brain.Event:2").SerializeToString())
        writer.write(scalars(2.25, 1, [("train/loss", 3.5), ("train/learning_rate", 1e-4)])
                     .SerializeToString())
        writer.write(scalars(3.0, 300, [("validation/loss", 0.1)]).SerializeToString())
        writer.write(scalars(4.0, 1 << 40, [("train/loss", float("inf"))]).SerializeToString())
        writer.flush()


if __name__ == "__main__":
    main()
