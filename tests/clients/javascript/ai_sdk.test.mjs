// The Vercel AI SDK with its Bedrock provider, against the server at OUTCROP_ENDPOINT.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
import { APICallError, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

import provoked from "./provoked.cjs";

const { OUTCROP_ENDPOINT, OUTCROP_API_KEY } = process.env;
const region = "us-east-1";
const signed = createAmazonBedrock({ baseURL: OUTCROP_ENDPOINT, region });
const keyed = createAmazonBedrock({ baseURL: OUTCROP_ENDPOINT, region, apiKey: OUTCROP_API_KEY });
const model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const settings = { maxOutputTokens: 8, temperature: 0, maxRetries: 0 };
const weather = z.object({ city: z.string().max(20), unit: z.enum(["celsius", "fahrenheit"]) });

test("text, whole and streamed, signed and with a key", async () => {
  for (const provider of [signed, keyed]) {
    const request = {
      model: provider("us.deepseek.r1-v1:0"),
      system: "You are brief.",
      prompt: "Name three colours.",
      ...settings,
    };
    const { text, usage, finishReason } = await generateText(request);
    assert.ok(text.trim());
    assert.ok(usage.outputTokens <= 8);
    assert.ok(["length", "stop"].includes(finishReason));
    const stream = streamText(request);
    let streamed = "";
    for await (const part of stream.textStream) streamed += part;
    assert.equal(streamed, text);
    assert.equal((await stream.usage).outputTokens, usage.outputTokens);
  }
});

test("tools, forced and left to the model", async () => {
  const tools = { get_weather: tool({ description: "Weather", inputSchema: weather }) };
  const request = { ...settings, maxOutputTokens: 64, model: signed(model), tools };
  const prompt = "What is the weather in Paris?";
  const forced = { ...request, prompt, toolChoice: { type: "tool", toolName: "get_weather" } };
  const { toolCalls, finishReason } = await generateText(forced);
  assert.equal(finishReason, "tool-calls");
  assert.ok(weather.safeParse(toolCalls[0].input).success, JSON.stringify(toolCalls));

  const calls = await streamText({ ...forced, toolChoice: "required" }).toolCalls;
  assert.ok(weather.safeParse(calls[0].input).success, JSON.stringify(calls));

  tools.get_weather.execute = async () => "21 degrees";
  const looped = await generateText({
    ...request,
    prompt,
    toolChoice: "auto",
    stopWhen: stepCountIs(2),
  });
  assert.ok(looped.steps.length >= 1);
});

test("objects", async () => {
  const { object } = await generateObject({
    ...settings,
    maxOutputTokens: 64,
    model: signed(model),
    schema: weather,
    prompt: "It is warm in Paris, in celsius.",
  });
  assert.ok(weather.safeParse(object).success, JSON.stringify(object));
});

for (const { name, status, tries = 1, ...changes } of provoked) {
  test(`${name} is an error of this status`, async () => {
    const { endpoint = OUTCROP_ENDPOINT, credentials = {}, modelId = model } = changes;
    const provider = createAmazonBedrock({ baseURL: endpoint, region, ...credentials });
    const asked = {
      model: provider(modelId),
      prompt: "Tell a long story.",
      maxRetries: 0,
      maxOutputTokens: changes.maxTokens ?? 8,
      temperature: 0,
      // The SDK itself brings a temperature into its range.
      ...(name === "ValidationException" && {
        providerOptions: { bedrock: { additionalModelRequestFields: { poem: 1 } } },
      }),
    };
    let error;
    for (let attempt = 0; attempt < tries && !error; attempt += 1) {
      error = await generateText(asked).then(() => undefined, (it) => it);
    }
    assert.ok(APICallError.isInstance(error), String(error));
    assert.equal(error.statusCode, status);
    assert.ok(error.message);
  });
}

test("a wrong key is refused", async () => {
  const wrong = createAmazonBedrock({ baseURL: OUTCROP_ENDPOINT, region, apiKey: "no-key" });
  const asked = { ...settings, model: wrong(model), prompt: "Hi" };
  await assert.rejects(generateText(asked), { statusCode: 403 });
});
