// The Vercel AI SDK with its Bedrock provider, against the server at OUTCROP_ENDPOINT.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createAmazonBedrock } from "@ai-sdk/amazon-bedrock";
import { APICallError, generateObject, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

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

test("errors carry the status and the exception", async () => {
  const absent = { ...settings, model: signed("anthropic.claude-v2"), prompt: "Hi" };
  await assert.rejects(generateText(absent), (error) => {
    assert.ok(APICallError.isInstance(error));
    assert.equal(error.statusCode, 404);
    return true;
  });
  const wrong = createAmazonBedrock({ baseURL: OUTCROP_ENDPOINT, region, apiKey: "no-key" });
  await assert.rejects(generateText({ ...absent, model: wrong("x") }), { statusCode: 403 });
});
