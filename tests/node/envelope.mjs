// Reading CloudEvents (section 2), and bodies by what `choros contract` says of them.

export class Unacceptable extends Error {}

const PREFIXES = ["cloudEvents_", "cloudEvents:", "ce-"];
const JSON_TYPE = /^[^/;\s]+\/([^/;\s]+\+)?json$/;
const COUNTS = ["sagaversion", "sagaattempt", "factseq"];
const TIMES = ["time", "expirytime", "doexpirytime", "begantime"];
const MOMENT = /^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$/;

export function readEvent(message) {
  const type = (message.properties.contentType ?? "application/json").split(";")[0].trim().toLowerCase();
  const event = type.startsWith("application/cloudevents") ? readStructured(message) : readBinary(message, type);
  if (event.specversion !== "1.0" || !event.id || !event.source || !event.type)
    throw new Unacceptable("It is no CloudEvent.");
  for (const name of COUNTS) if (event[name] !== undefined) event[name] = readCount(event[name]);
  for (const name of TIMES) if (event[name] !== undefined) event[name] = readTime(event[name]);
  return event;
}

function readBinary(message, type) {
  if (!JSON_TYPE.test(type)) throw new Unacceptable("Its body is not JSON.");
  const headers = Object.entries(message.properties.headers ?? {});
  const prefix = PREFIXES.find((one) => headers.some(([name]) => name.startsWith(one)));
  const attributes = headers.filter(([name]) => prefix && name.startsWith(prefix));
  return {
    ...Object.fromEntries(attributes.map(([name, value]) => [name.slice(prefix.length), value])),
    data: parse(message.content),
  };
}

function readStructured(message) {
  const event = parse(message.content);
  if (event.data === undefined) throw new Unacceptable("It has no data.");
  return event;
}

function parse(content) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(content));
  } catch {
    throw new Unacceptable("Its body cannot be read.");
  }
}

function readCount(value) {
  const count = Number(value);
  if (!Number.isInteger(count) || count < 1 || count > 2147483647) throw new Unacceptable("A number in it is none.");
  return count;
}

function readTime(value) {
  // in seconds
  if (typeof value === "object" && value["!"] === "timestamp") return value.value;
  const moment = MOMENT.test(value) ? Date.parse(value.replace(" ", "T")) : NaN;
  if (Number.isNaN(moment)) throw new Unacceptable("A time in it is none.");
  return moment / 1000;
}

// As much of JSON Schema as tells a strict reader what is wrong: names, and the types of values.
export function checkBody(body, schema) {
  const fields = schema.properties ?? {};
  if (typeof body !== "object" || body === null || Array.isArray(body))
    throw new Unacceptable("Its body is no object.");
  const missing = (schema.required ?? []).some((name) => !(name in body));
  const unknown = schema.additionalProperties === false && Object.keys(body).some((name) => !(name in fields));
  const wrong = Object.entries(body).some(([name, value]) => name in fields && !fits(value, fields[name]));
  if (missing || unknown || wrong) throw new Unacceptable("Its body has other fields than it should.");
}

function fits(value, { type, enum: choices }) {
  if (choices && !choices.includes(value)) return false;
  return !type || (type === "integer" ? Number.isInteger(value) : typeof value === type);
}
