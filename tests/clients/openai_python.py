"""OpenAI's official Python client against a Mentor with fakes behind it. Usage: openai_python.py http://HOST:PORT/v1"""

import asyncio
import sys

import openai

base_url = sys.argv[1]
client = openai.OpenAI(base_url=base_url, api_key="none", max_retries=0)
answer = "A binary heap is a complete tree in an array."
messages = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "what is a heap?"},
    {"role": "assistant", "content": "A tree."},
    {"role": "user", "content": [{"type": "text", "text": "and how is it stored?"}]},
]


def whole():
    done = client.chat.completions.create(
        model="mentor", messages=messages, temperature=0, max_completion_tokens=5000, seed=7, stop=["END"], user="somebody"
    )
    message = done.choices[0].message
    assert (message.role, message.content, done.choices[0].finish_reason) == ("assistant", answer, "stop"), done
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens, done.usage
    assert message.mentor["grounding"] == "grounded", message
    assert message.mentor["question"] == "what is a heap? and how is it stored?", message
    assert message.mentor["sources"][0]["metadata"]["file_name"] == "heaps.pdf", message


def streamed():
    chunks = list(
        client.chat.completions.create(
            model="mentor", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == answer, chunks
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop", chunks
    assert chunks[-1].usage.completion_tokens == 3, chunks[-1]
    assert [chunk.mentor["grounding"] for chunk in chunks if hasattr(chunk, "mentor")] == ["grounded"], chunks


def with_the_streaming_helper():
    with client.chat.completions.stream(model="mentor", messages=messages) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == answer


async def asynchronously():
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as asynchronous:
        done = await asynchronous.chat.completions.create(model="mentor", messages=messages)
        assert done.choices[0].message.content == answer, done


def refusals():
    for call, kind, code, param in [
        (lambda: client.chat.completions.create(model="gpt-4o", messages=messages), openai.NotFoundError, "model_not_found", "model"),
        (lambda: client.chat.completions.create(model="mentor", messages=messages, n=2), openai.BadRequestError, "invalid_request", "n"),
        (lambda: client.chat.completions.create(model="mentor", messages=[]), openai.BadRequestError, "invalid_request", "messages"),
        (lambda: client.embeddings.create(model="mentor", input=[[1, 2]]), openai.BadRequestError, "invalid_request", "input"),
    ]:
        try:
            call()
        except kind as error:
            assert (error.code, error.param) == (code, param), error
        else:
            raise AssertionError(f"{code} was not refused")


def models():
    names = [model.id for model in client.models.list()]
    assert names == ["mentor", "fake", "fake-embedder"], names
    assert client.models.retrieve("fake-embedder").id == "fake-embedder"


def embeddings():
    # The client asks for Base64 by itself where no format is named, and decodes it.
    for extra in [{}, {"encoding_format": "float"}, {"dimensions": 2}]:
        found = client.embeddings.create(model="mentor", input=["a", "b"], **extra)
        assert [entry.embedding for entry in found.data] == [[1.0, 0.0], [1.0, 0.0]], found
        assert found.usage.prompt_tokens == 6, found.usage


whole()
streamed()
with_the_streaming_helper()
asyncio.run(asynchronously())
refusals()
models()
embeddings()
