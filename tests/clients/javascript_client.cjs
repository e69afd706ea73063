// The AWS SDK for JavaScript as its users know it, against the server at OUTCROP_ENDPOINT. It speaks
// HTTP/2 without TLS and with prior knowledge, and nothing else.

const assert = require("node:assert/strict");
const { after, test } = require("node:test");
const {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  ResourceNotFoundException,
  ValidationException,
} = require("@aws-sdk/client-bedrock-runtime");

const modelId = "us.deepseek.r1-v1:0";
const client = new BedrockRuntimeClient({ endpoint: process.env.OUTCROP_ENDPOINT });
after(() => client.destroy());

const ask = (text) => [{ role: "user", content: [{ text }] }];
const question = {
  modelId,
  messages: ask("Name three colours."),
  inferenceConfig: { maxTokens: 8, temperature: 0 },
};
const textOf = (response) =>
  response.output.message.content.map((block) => block.text ?? "").join("");

test("converse answers", async () => {
  const response = await client.send(new ConverseCommand(question));
  assert.equal(response.output.message.role, "assistant");
  assert.ok(textOf(response).trim());
  assert.ok(["end_turn", "max_tokens"].includes(response.stopReason));
  assert.ok(response.usage.outputTokens <= 8);
  assert.equal(response.$metadata.requestId.length, 36);
});

test("the stream is the answer in parts", async () => {
  const whole = await client.send(new ConverseCommand(question));
  const { stream } = await client.send(new ConverseStreamCommand(question));
  let text = "";
  const kinds = [];
  for await (const event of stream) {
    kinds.push(Object.keys(event)[0]);
    text += event.contentBlockDelta?.delta?.text ?? "";
  }
  assert.equal(text, textOf(whole));
  assert.equal(kinds[0], "messageStart");
  assert.deepEqual(kinds.slice(-3), ["contentBlockStop", "messageStop", "metadata"]);
});

test("many requests share a connection", async () => {
  const requests = Array.from({ length: 4 }, () => client.send(new ConverseCommand(question)));
  const texts = new Set((await Promise.all(requests)).map(textOf));
  assert.ok([...texts].every((text) => text.trim()));
});

test("a stream may be left", async () => {
  const controller = new AbortController();
  const story = { ...question, messages: ask("Tell a long story."), inferenceConfig: {} };
  const { stream } = await client.send(new ConverseStreamCommand(story), {
    abortSignal: controller.signal,
  });
  for await (const event of stream) {
    if (event.contentBlockDelta) break;
  }
  controller.abort();
});

test("errors are the client's own exceptions", async () => {
  for (const Command of [ConverseCommand, ConverseStreamCommand]) {
    const send = (changes) => client.send(new Command({ ...question, ...changes }));
    await assert.rejects(send({ modelId: "anthropic.claude-v2" }), ResourceNotFoundException);
    await assert.rejects(send({ inferenceConfig: { temperature: 2 } }), ValidationException);
    const tools = [{ toolSpec: { name: "t", inputSchema: { json: { type: "object" } } } }];
    await assert.rejects(send({ toolConfig: { tools } }), (error) => {
      assert.ok(error instanceof ValidationException);
      assert.match(error.message, /tool use/);
      assert.equal(error.$metadata.httpStatusCode, 400);
      return true;
    });
  }
});
