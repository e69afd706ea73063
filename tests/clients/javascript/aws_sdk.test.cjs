// The AWS SDK for JavaScript as its users know it, against the servers that tests/clients/run starts.
// Its runtime client speaks HTTP/2 and nothing else, without TLS by prior knowledge.

const assert = require("node:assert/strict");
const { after, test } = require("node:test");
const exceptions = require("@aws-sdk/client-bedrock-runtime");
const provoked = require("./provoked.cjs");
const {
  ApplyGuardrailCommand,
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  CountTokensCommand,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} = require("@aws-sdk/client-bedrock-runtime");
const {
  BedrockClient,
  GetFoundationModelCommand,
  ListFoundationModelsCommand,
  ListInferenceProfilesCommand,
} = require("@aws-sdk/client-bedrock");

const { OUTCROP_ENDPOINT, OUTCROP_TLS_ENDPOINT } = process.env;
const modelId = "us.deepseek.r1-v1:0";
const clients = [];
const runtime = (options = {}) => {
  const client = new BedrockRuntimeClient({ endpoint: OUTCROP_ENDPOINT, ...options });
  clients.push(client);
  return client;
};
const client = runtime();
after(() => clients.forEach((client) => client.destroy()));

const ask = (text) => [{ role: "user", content: [{ text }] }];
const question = {
  modelId,
  messages: ask("Name three colours."),
  inferenceConfig: { maxTokens: 8, temperature: 0 },
};
const textOf = (response) =>
  response.output.message.content.map((block) => block.text ?? "").join("");
const weather = {
  toolSpec: {
    name: "get_weather",
    description: "The weather in a city",
    inputSchema: {
      json: {
        type: "object",
        properties: {
          city: { type: "string", maxLength: 20 },
          unit: { enum: ["celsius", "fahrenheit"] },
        },
        required: ["city", "unit"],
        additionalProperties: false,
      },
    },
  },
};
const checkWeather = (input) => {
  assert.deepEqual(Object.keys(input).sort(), ["city", "unit"]);
  assert.equal(typeof input.city, "string");
  assert.ok(["celsius", "fahrenheit"].includes(input.unit));
};

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
  assert.equal(texts.size, 1);
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

test("a forced tool call, whole and streamed", async () => {
  const forced = {
    ...question,
    messages: ask("What is the weather in Paris?"),
    inferenceConfig: { maxTokens: 64, temperature: 0 },
    toolConfig: { tools: [weather], toolChoice: { tool: { name: "get_weather" } } },
  };
  const response = await client.send(new ConverseCommand(forced));
  assert.equal(response.stopReason, "tool_use");
  const [block] = response.output.message.content;
  checkWeather(block.toolUse.input);

  const { stream } = await client.send(new ConverseStreamCommand(forced));
  let input = "";
  let name;
  for await (const event of stream) {
    name ??= event.contentBlockStart?.start?.toolUse?.name;
    if (event.contentBlockDelta?.contentBlockIndex === 0) {
      input += event.contentBlockDelta.delta.toolUse.input;
    }
  }
  assert.equal(name, "get_weather");
  assert.deepEqual(JSON.parse(input), block.toolUse.input);

  const results = [{ toolResult: { toolUseId: block.toolUse.toolUseId, content: [{ text: "21" }] } }];
  const messages = [
    ...forced.messages,
    response.output.message,
    { role: "user", content: results },
  ];
  const auto = { ...forced, messages, toolConfig: { tools: [weather] } };
  assert.ok((await client.send(new ConverseCommand(auto))).usage.outputTokens > 0);
});

test("invoke, whole and streamed, and counting", async () => {
  const body = JSON.stringify({ prompt: "Once upon a time", max_tokens: 6, temperature: 0 });
  const answer = await client.send(new InvokeModelCommand({ modelId, body }));
  const { choices } = JSON.parse(answer.body.transformToString());
  assert.ok(choices[0].text);

  const streamed = await client.send(new InvokeModelWithResponseStreamCommand({ modelId, body }));
  let text = "";
  let metrics;
  for await (const event of streamed.body) {
    const chunk = JSON.parse(Buffer.from(event.chunk.bytes).toString());
    text += chunk.choices?.[0]?.text ?? "";
    metrics = chunk["amazon-bedrock-invocationMetrics"] ?? metrics;
  }
  assert.equal(text, choices[0].text);
  assert.ok(metrics.outputTokenCount <= 6);

  const input = { converse: { messages: question.messages } };
  const counted = await client.send(new CountTokensCommand({ modelId, input }));
  assert.ok(counted.inputTokens > 3);
});

test("the control plane lists what is served", async () => {
  const control = new BedrockClient({ endpoint: OUTCROP_ENDPOINT });
  clients.push(control);
  const { modelSummaries } = await control.send(new ListFoundationModelsCommand({}));
  const modelIdentifier = modelSummaries[0].modelId;
  const { modelDetails } = await control.send(new GetFoundationModelCommand({ modelIdentifier }));
  assert.equal(modelDetails.modelId, modelIdentifier);
  const { inferenceProfileSummaries } = await control.send(new ListInferenceProfilesCommand({}));
  assert.ok(inferenceProfileSummaries.some((it) => it.inferenceProfileId === modelId));
});

for (const { name, status, tries = 1, ...changes } of provoked) {
  test(`${name} is the client's own exception`, async () => {
    const { credentials, endpoint, maxTokens = 8, temperature = 0 } = changes;
    const options = { maxAttempts: 1, ...(credentials && { credentials }), ...(endpoint && { endpoint }) };
    const asking = runtime(options);
    const asked = {
      modelId: changes.modelId ?? modelId,
      messages: ask("Tell a long story."),
      inferenceConfig: { maxTokens, temperature },
    };
    const whole = () => asking.send(new ConverseCommand(asked));
    const streamed = async () => {
      const { stream } = await asking.send(new ConverseStreamCommand(asked));
      for await (const event of stream) assert.ok(event);
    };
    for (const send of [whole, streamed]) {
      let error;
      for (let attempt = 0; attempt < tries && !error; attempt += 1) {
        error = await send().then(() => undefined, (it) => it);
      }
      // A stream that has begun has another exception for it.
      const isCut =
        send === streamed && ["ModelTimeoutException", "ModelErrorException"].includes(name);
      const expected = isCut ? "ModelStreamErrorException" : name;
      assert.ok(error instanceof exceptions[expected], `${error?.name}: ${error?.message}`);
      assert.ok(error.message);
      if (!isCut) assert.equal(error.$metadata.httpStatusCode, status);
    }
  });
}

test("ServiceQuotaExceededException is the client's own exception", async () => {
  const { OUTCROP_SPENT_KEY_ID, OUTCROP_SPENT_SECRET } = process.env;
  const credentials = { accessKeyId: OUTCROP_SPENT_KEY_ID, secretAccessKey: OUTCROP_SPENT_SECRET };
  const asking = runtime({ maxAttempts: 1, credentials });
  const body = JSON.stringify({ prompt: "Hi", max_tokens: 1 });
  const invoke = () => asking.send(new InvokeModelCommand({ modelId, body }));
  // The key has one token a day, and is charged a moment after the answer.
  for (let attempt = 0; attempt < 3; attempt += 1) await invoke().catch(() => {});
  const content = [{ text: { text: "Hi" } }];
  const guardrail = { guardrailIdentifier: "everything", guardrailVersion: "DRAFT" };
  for (const send of [
    invoke,
    () => asking.send(new InvokeModelWithResponseStreamCommand({ modelId, body })),
    () => asking.send(new ApplyGuardrailCommand({ ...guardrail, source: "INPUT", content })),
  ]) {
    await assert.rejects(send(), (error) => {
      assert.ok(error instanceof exceptions.ServiceQuotaExceededException, String(error));
      return error.$metadata.httpStatusCode === 400;
    });
  }
});

test("signatures and keys, with TLS and without", async () => {
  const wrong = { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: "wrong" };
  await assert.rejects(runtime({ credentials: wrong }).send(new ConverseCommand(question)), {
    name: "InvalidSignatureException",
  });
  const bearer = {
    token: { token: process.env.OUTCROP_API_KEY },
    authSchemePreference: ["httpBearerAuth"],
  };
  for (const endpoint of [OUTCROP_ENDPOINT, OUTCROP_TLS_ENDPOINT]) {
    for (const options of [{}, bearer]) {
      const response = await runtime({ endpoint, ...options }).send(new ConverseCommand(question));
      assert.ok(textOf(response).trim());
    }
  }
});
