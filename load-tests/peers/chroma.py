#!/usr/bin/env python3
"""Chroma, in process, on the vectors of `mentor bench search FOLDER`: the same questions, and the same ten nearest to find.

    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install chromadb numpy
    /tmp/peer/bin/python load-tests/peers/chroma.py /tmp/large

Adds the vectors to a store in FOLDER/chroma and searches it in a process of its own, as `mentor bench search` does; a store that is
there already is searched again. Prints a JSON object with the figures of `mentor bench search --json` that both have.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import chromadb
import numpy

QUESTIONS = 1_000
TOP_K = 10
ROWS_A_BATCH = 5_000  # Chroma takes at most 5,461 at once


def open_store(folder):
    settings = chromadb.Settings(anonymized_telemetry=False)
    client = chromadb.PersistentClient(str(folder / "chroma"), settings=settings)
    # No documents are added, so no embedder is wanted.
    return client.get_or_create_collection("chunks", embedding_function=None, metadata={"hnsw:space": "cosine"})


def add(folder):
    questions = numpy.fromfile(folder / "questions.f32", dtype="<f4").reshape(QUESTIONS, -1)
    vectors = numpy.memmap(folder / "vectors.f32", dtype="<f4", mode="r").reshape(-1, questions.shape[1])
    collection = open_store(folder)
    start = time.perf_counter()
    for first in range(0, len(vectors), ROWS_A_BATCH):
        batch = numpy.array(vectors[first : first + ROWS_A_BATCH])
        collection.add(ids=[str(row) for row in range(first, first + len(batch))], embeddings=batch)
    seconds = time.perf_counter() - start
    (folder / "chroma" / "add_seconds").write_text(str(seconds))


def search(folder):
    questions = numpy.fromfile(folder / "questions.f32", dtype="<f4").reshape(QUESTIONS, -1)
    nearest = numpy.fromfile(folder / "nearest.u32", dtype="<u4").reshape(QUESTIONS, TOP_K)
    ask = lambda collection, question: collection.query(query_embeddings=[question], n_results=TOP_K, include=[])["ids"][0]
    start = time.perf_counter()
    collection = open_store(folder)
    ask(collection, questions[0])
    open_seconds = time.perf_counter() - start
    for _ in range(2):  # the first round warms up
        times, found = [], 0
        for question, wanted in zip(questions, nearest):
            start = time.perf_counter()
            ids = ask(collection, question)
            times.append((time.perf_counter() - start) * 1e3)
            found += len({int(row) for row in ids} & set(wanted.tolist()))
    times.sort()
    at = lambda percent: times[-(-len(times) * percent // 100) - 1]
    status = Path("/proc/self/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return {
        "chroma": chromadb.__version__,
        "chunks": collection.count(),
        "add_seconds": float((folder / "chroma" / "add_seconds").read_text()),
        "open_seconds": open_seconds,
        "vectors": {"p50": at(50), "p95": at(95), "max": times[-1]},
        "recall": found / nearest.size,
        "resident_mebibytes": resident >> 10,
        "bytes": sum(file.stat().st_size for file in (folder / "chroma").rglob("*") if file.is_file()),
    }


def main(folder, *rest):
    if rest == ("search",):
        print(json.dumps(search(folder)))
        return
    if not (folder / "chroma" / "add_seconds").exists():
        shutil.rmtree(folder / "chroma", ignore_errors=True)
        add(folder)
    # What adding has left in memory is not counted.
    sys.exit(subprocess.call([sys.executable, os.path.abspath(__file__), str(folder), "search"]))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
