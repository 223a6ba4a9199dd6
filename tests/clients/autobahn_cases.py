"""Runs the Autobahn test cases against an echo server: `autobahn_cases.py HOST:PORT CASE...`. Needs the package kosoku."""

import asyncio
import collections
import sys

import kosoku


async def run(address, cases):
    try:
        return await kosoku.run_fuzzingclient(address, cases, None, concurrency=2)
    except kosoku.FailureError as failure:
        return failure.results


results = asyncio.run(run(sys.argv[1], sys.argv[2:]))
counted = collections.Counter(result.behavior.value for result in results)
failed = [result for result in results if not result.passed]
for result in failed:
    print(
        f"{result.case_id}: {result.behavior.value}, close {result.behavior_close.value}: {result.result} {result.result_close}"
    )
print(f"{len(results)} cases: {dict(counted)}, {len(failed)} failed")
sys.exit(1 if failed or not results else 0)
