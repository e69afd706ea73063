// How to meet each error that Converse can answer by the service model: what of a plain question is to be
// changed.

const env = process.env;
const key = (name) => ({
  accessKeyId: env[`OUTCROP_${name}_KEY_ID`],
  secretAccessKey: env[`OUTCROP_${name}_SECRET`],
});

module.exports = [
  { name: "ValidationException", status: 400, temperature: 1.9 },
  { name: "AccessDeniedException", status: 403, credentials: key("OTHER_MODEL") },
  { name: "ResourceNotFoundException", status: 404, modelId: "anthropic.claude-v2" },
  {
    name: "ModelTimeoutException",
    status: 408,
    endpoint: env.OUTCROP_HASTY_ENDPOINT,
    maxTokens: 1500,
  },
  { name: "ModelErrorException", status: 424, endpoint: env.OUTCROP_SPOILED_ENDPOINT },
  // The first of its requests may be good.
  { name: "ThrottlingException", status: 429, credentials: key("THROTTLED"), tries: 2 },
  { name: "ModelNotReadyException", status: 429, endpoint: env.OUTCROP_LOADING_ENDPOINT },
  { name: "InternalServerException", status: 500, endpoint: env.OUTCROP_BROKEN_ENDPOINT },
  { name: "ServiceUnavailableException", status: 503, endpoint: env.OUTCROP_DRAINING_ENDPOINT },
];
