// OpenAI's official JavaScript client against a Mentor with fakes behind it. Usage: node openai_javascript.cjs http://HOST:PORT/v1

const assert = require("node:assert/strict");
const OpenAI = require("openai");

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const answer = "A binary heap is a complete tree in an array.";
const messages = [
  { role: "system", content: "Be brief." },
  { role: "user", content: "what is a heap?" },
  { role: "assistant", content: "A tree." },
  { role: "user", content: "and how is it stored?" },
];

async function whole() {
  const done = await client.chat.completions.create({ model: "mentor", messages, temperature: 0, max_completion_tokens: 5000 });
  const { message, finish_reason } = done.choices[0];
  assert.deepEqual([message.role, message.content, finish_reason], ["assistant", answer, "stop"]);
  assert.equal(message.mentor.grounding, "grounded");
  assert.equal(done.usage.completion_tokens, 3);
}

async function streamed() {
  const stream = await client.chat.completions.create({
    model: "mentor", messages, stream: true, stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), answer);
  assert.equal(chunks.find((chunk) => chunk.mentor).mentor.grounding, "grounded");
  assert.equal(chunks.at(-1).usage.completion_tokens, 3);
}

async function withTheStreamingHelper() {
  const stream = client.chat.completions.stream({ model: "mentor", messages });
  assert.equal(await stream.finalContent(), answer);
}

async function refusals() {
  const refused = (call, kind, code) => assert.rejects(call, (error) => error instanceof kind && error.code === code);
  await refused(client.chat.completions.create({ model: "gpt-4o", messages }), OpenAI.NotFoundError, "model_not_found");
  await refused(client.chat.completions.create({ model: "mentor", messages, n: 2 }), OpenAI.BadRequestError, "invalid_request");
}

async function models() {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  assert.deepEqual(names, ["mentor", "fake", "fake-embedder"]);
  assert.equal((await client.models.retrieve("fake-embedder")).id, "fake-embedder");
}

async function embeddings() {
  for (const extra of [{}, { encoding_format: "float" }, { dimensions: 2 }]) {
    const found = await client.embeddings.create({ model: "mentor", input: ["a", "b"], ...extra });
    assert.deepEqual(found.data.map((entry) => Array.from(entry.embedding)), [[1, 0], [1, 0]]);
  }
}

(async () => {
  await whole();
  await streamed();
  await withTheStreamingHelper();
  await refusals();
  await models();
  await embeddings();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
