// What the npm package `openai` asks of a gateway, as `test_other_clients.py` runs it.
import OpenAI from "openai";
import assert from "node:assert";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const embedder = process.env.EMBEDDER;
const messages = [{ role: "user", content: "Hi." }];
// Greedy: a drawn answer may end before its limit, once in a hundred.
const ask = { model, messages, max_tokens: 6, temperature: 0 };
const form = {
  type: "object",
  properties: { city: { enum: ["Rome", "Oslo"] } },
  required: ["city"],
  additionalProperties: false,
};

async function chats() {
  const whole = await client.chat.completions.create({ ...ask, n: 2 });
  assert.equal(whole.choices.length, 2);
  let last;
  let text = "";
  const stream = await client.chat.completions.create({
    ...ask,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    last = chunk;
    text += chunk.choices[0]?.delta.content ?? "";
  }
  assert.equal(last.usage.completion_tokens, 6);
  assert.ok(text);
  const helped = client.chat.completions.stream(ask);
  assert.ok(await helped.finalContent());
}

async function completions() {
  const options = { model, prompt: "One, two,", max_tokens: 3, temperature: 0 };
  const whole = await client.completions.create(options);
  let text = "";
  for await (const chunk of await client.completions.create({ ...options, stream: true })) {
    text += chunk.choices[0].text;
  }
  assert.equal(text, whole.choices[0].text);
}

async function tools() {
  const tool = { type: "function", function: { name: "weather", parameters: form } };
  const options = { ...ask, max_tokens: 60, tools: [tool], tool_choice: "required" };
  const whole = await client.chat.completions.create(options);
  const call = whole.choices[0].message.tool_calls[0];
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  assert.ok(["Rome", "Oslo"].includes(JSON.parse(call.function.arguments).city));
  const again = await client.chat.completions.stream(options).finalMessage();
  assert.equal(again.tool_calls[0].function.arguments, call.function.arguments);
}

async function forms() {
  const response_format = {
    type: "json_schema",
    json_schema: { name: "place", schema: form, strict: true },
  };
  const told = await client.chat.completions.parse({ ...ask, max_tokens: 60, response_format });
  assert.ok(["Rome", "Oslo"].includes(JSON.parse(told.choices[0].message.content).city));
}

async function responses() {
  const options = { model, input: "Hi.", max_output_tokens: 5, temperature: 0 };
  const whole = await client.responses.create(options);
  assert.ok(whole.output_text);
  const kinds = [];
  let text = "";
  for await (const event of await client.responses.create({ ...options, stream: true })) {
    kinds.push(event.type);
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal(kinds[0], "response.created");
  assert.equal(kinds.at(-1), "response.incomplete");
  assert.equal(text, whole.output_text);
  const final = await client.responses.stream(options).finalResponse();
  assert.equal(final.output_text, whole.output_text);
}

async function embeddings() {
  const input = ["A patient.", "Ein Zug."];
  // Without a form the client asks for base64 and decodes it; both forms are the same numbers.
  const decoded = await client.embeddings.create({ model: embedder, input });
  const floats = await client.embeddings.create({ model: embedder, input, encoding_format: "float" });
  const packed = await client.embeddings.create({ model: embedder, input, encoding_format: "base64" });
  for (const [index, { embedding }] of decoded.data.entries()) {
    assert.equal(embedding.length, 384);
    for (const [place, number] of embedding.entries()) {
      assert.ok(Math.abs(number - floats.data[index].embedding[place]) < 1e-6);
    }
    const bytes = Buffer.from(packed.data[index].embedding, "base64");
    assert.equal(bytes.length, 384 * 4);
    assert.equal(bytes.readFloatLE(0), embedding[0]);
  }
}

async function refusals() {
  await assert.rejects(
    client.chat.completions.create({ ...ask, model: "gpt-9" }),
    (error) =>
      error.status === 404 && error.code === "model_not_found" && error.requestID.startsWith("req_"),
  );
  await assert.rejects(
    client.embeddings.create({ model: embedder, input: "" }),
    (error) => error.status === 400 && error.param === "input",
  );
  const stranger = new OpenAI({ apiKey: "sg-wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), (error) => error.code === "invalid_api_key");
}

const names = [];
for await (const each of await client.models.list()) names.push(each.id);
assert.deepEqual(names.sort(), [model, embedder].sort());
for (const part of [chats, completions, tools, forms, responses, embeddings, refusals]) await part();
