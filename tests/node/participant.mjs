// A participant and a subscriber as somebody would write them who has never seen choros: amqplib, node:sqlite, what
// `choros contract` prints, and docs/protocol.md. Numbers in comments are sections and rules of that page.
//
//     node participant.mjs SETTINGS        (JSON: url, declares, namespace, service, subscriber, database, contract, gone_after)
//
// What it does it says on stdout, a line of JSON for each; on stdin it is told to let go what it holds, and to forget.

import { createInterface } from "node:readline";
import amqp from "amqplib";
import { business, subscription } from "./business.mjs";
import { Barrier } from "./barrier.mjs";
import { Publisher } from "./publisher.mjs";
import { Unacceptable, checkBody, readEvent } from "./envelope.mjs";

const settings = JSON.parse(process.argv[2]);
const { namespace: ns, service, subscriber } = settings;
const commands = settings.contract.services[service].commands;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const say = (event, more = {}) => process.stdout.write(JSON.stringify({ event, ...more }) + "\n");
const held = new Map(); // by order, the functions that let go

const WORKING = {
  "x-queue-type": "quorum",
  "x-delivery-limit": 20,
  "x-dead-letter-exchange": `${ns}.dead`,
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
};
const RUNGS = [1, 5, 30, 120, 600];
const LEFT_OUT = ["CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", "x-stream-offset"];
const LEFT_OUT_PREFIXES = ["x-first-death-", "x-last-death-", "x-opt-"];

// --- what stands on the broker (1) ------------------------------------------------------------------------------------

async function declareWorkingQueue(channel, name) {
  await channel.assertExchange(`${name}.dead`, "fanout", { durable: true });
  await channel.assertQueue(`${name}.dead`, {
    durable: true,
    arguments: { "x-queue-type": "quorum", "x-delivery-limit": 1000000000 },
  });
  await channel.bindQueue(`${name}.dead`, `${ns}.dead`, name);
  await channel.bindQueue(`${name}.dead`, `${name}.dead`, "");
  await channel.assertQueue(name, { durable: true, arguments: { ...WORKING, "x-dead-letter-routing-key": name } });
}

async function declare(channel) {
  for (const name of ["commands", "replies", "retry", "dead"]) {
    await channel.assertExchange(`${ns}.${name}`, "direct", { durable: true });
  }
  await channel.assertExchange(`${ns}.facts`, "fanout", { durable: true });
  await declareWorkingQueue(channel, `${ns}.${service}`);
  await channel.bindQueue(`${ns}.${service}`, `${ns}.commands`, service);
  await channel.assertExchange(`${ns}.${service}.replies`, "fanout", { durable: true });
  await channel.bindExchange(`${ns}.replies`, `${ns}.${service}.replies`, "");
  const queue = `${ns}.facts.${subscriber}`;
  await declareWorkingQueue(channel, queue);
  await channel.bindQueue(queue, `${ns}.facts`, "");
  await channel.bindQueue(queue, `${ns}.retry`, queue);
  await channel.assertExchange(`${queue}.retry`, "direct", { durable: true });
  for (const seconds of RUNGS) await declareRung(channel, queue, seconds);
}

// As a user who may configure nothing: to declare what is there would be refused.
async function look(channel) {
  const queue = `${ns}.facts.${subscriber}`;
  for (const name of [`${ns}.${service}`, queue]) await channel.checkQueue(name);
  for (const name of [`${ns}.${service}.replies`, `${ns}.${service}.dead`, `${queue}.retry`, `${queue}.dead`]) {
    await channel.checkExchange(name);
  }
}

async function declareRung(channel, queue, seconds) {
  const rung = `${queue}.retry.${seconds}s`;
  const { "x-delivery-limit": _, ...usual } = WORKING;
  const back = {
    "x-message-ttl": seconds * 1000,
    "x-dead-letter-exchange": `${ns}.retry`,
    "x-dead-letter-routing-key": queue,
  };
  await channel.assertQueue(rung, { durable: true, arguments: { ...usual, ...back } });
  await channel.bindQueue(rung, `${queue}.retry`, rung);
  await channel.bindQueue(rung, `${ns}.retry`, rung);
}

// --- putting aside (9) ------------------------------------------------------------------------------------------------

function copyOf(message, more) {
  const { headers, ...properties } = message.properties;
  const kept = Object.entries(headers ?? {}).filter(
    ([name]) => !LEFT_OUT.includes(name) && !LEFT_OUT_PREFIXES.some((prefix) => name.startsWith(prefix)),
  );
  return { ...properties, persistent: true, headers: { ...Object.fromEntries(kept), ...more } };
}

async function park(context, queue, message, reason) {
  const notes = {
    "x-choros-reason": reason.slice(0, 500),
    "x-choros-failed-at": new Date().toISOString(),
    "x-choros-original-queue": queue,
  };
  await context.publisher.untilTaken(`${queue}.dead`, queue, message.content, copyOf(message, notes));
  context.channel.ack(message);
  say("parked", { queue, reason });
}

// --- commands (5) -----------------------------------------------------------------------------------------------------

const KEY = /^([A-Za-z0-9_.[\]-]{1,200}):([A-Za-z0-9_.[\]-]{1,200}):([1-9][0-9]{0,5}):(do|undo|close)$/;

function readCommand(message) {
  // rule 1
  const event = readEvent(message);
  const found = KEY.exec(event.idempotencykey ?? "");
  if (event.sagakind !== "command" || !found) throw new Unacceptable("It is no command.");
  const [, sagaId, path, , operation] = found;
  const word = path.split(".").at(-1).split("[")[0];
  if (operation === "do" && event.correlationid !== sagaId) throw new Unacceptable("Its saga is not that of its key.");
  if (![path, word].includes(event.sagastep)) throw new Unacceptable("Its step is not that of its key.");
  const replyTo = message.properties.replyTo ?? "";
  if (!replyTo.startsWith(`${ns}.replies.`)) throw new Unacceptable("It names no reply queue.");
  const declared = commands[event.type];
  if (!declared) return { event, unknown: true };
  if ((event.type === "choros.close.v1") !== (operation === "close"))
    throw new Unacceptable("Its type is of another operation.");
  const sent = (declared.sent ?? []).filter((one) => one.saga === event.saganame && one.version === event.sagaversion);
  if (sent.length && !sent.some((one) => one.operation === operation))
    throw new Unacceptable("Its type is of another operation.");
  checkBody(event.data, declared.body);
  return { event, effect: event.idempotencykey.slice(0, -operation.length - 1), operation, replyTo };
}

async function takeCommand(context, message) {
  let command;
  try {
    command = readCommand(message);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    return park(context, `${ns}.${service}`, message, error.message);
  }
  say("command", {
    headers: message.properties.headers,
    reply_to: message.properties.replyTo,
    body: message.content.toString(),
  });
  if (command.unknown) return giveBack(context, message);
  const order = command.event.data.order ?? "";
  if (order.startsWith("held-") && command.operation === "do") await new Promise((go) => held.set(order, go));
  const { answer, fresh } = context.barrier.transact(command, business);
  if (fresh && order.startsWith("crash-")) process.kill(process.pid, "SIGKILL");
  await publishAnswer(context, answer, command.replyTo, message);
}

async function giveBack(context, message) {
  if ((message.properties.headers["x-delivery-count"] ?? 0) >= 10) {
    return park(context, `${ns}.${service}`, message, "No replica of this service handles this type of command.");
  }
  await sleep(20);
  context.channel.reject(message, true);
}

async function publishAnswer(context, answer, replyTo, message) {
  // rules 6 and 7
  const taken = await sendAnswer(context, answer, replyTo, settings.gone_after);
  if (!taken) return park(context, `${ns}.${service}`, message, "No queue takes the reply.");
  context.channel.ack(message);
}

async function sendAnswer(context, answer, replyTo, goneAfter) {
  const properties = {
    headers: answer.headers,
    contentType: "application/json",
    persistent: true,
    correlationId: answer.headers.cloudEvents_correlationid,
    type: answer.headers.cloudEvents_type,
    appId: service,
  };
  const body = Buffer.from(JSON.stringify(answer.body));
  const taken = await context.publisher.untilTaken(`${ns}.${service}.replies`, replyTo, body, properties, goneAfter);
  if (taken) {
    context.barrier.confirm(answer.headers.cloudEvents_id);
    say("answered", { to: replyTo, headers: answer.headers, body: answer.body });
  }
  return taken;
}

async function sendUnconfirmed(context) {
  // rule 8
  for (const answer of context.barrier.unconfirmed()) await sendAnswer(context, answer, answer.replyTo, 0);
}

// --- facts (7) --------------------------------------------------------------------------------------------------------

async function takeFact(context, message) {
  const queue = `${ns}.facts.${subscriber}`;
  const retries = message.properties.headers?.["x-choros-retries"] ?? 0;
  let fact;
  try {
    fact = readFact(message);
  } catch (error) {
    if (!(error instanceof Unacceptable)) throw error;
    return park(context, queue, message, error.message);
  }
  try {
    say("fact", {
      type: fact.type,
      stream: fact.factstream,
      what: fact.reaction ? context.barrier.react(subscriber, fact) : "passed over",
    });
    context.channel.ack(message);
  } catch (error) {
    // rule 5
    if (retries >= RUNGS.length) return park(context, queue, message, error.message);
    const rung = `${queue}.retry.${RUNGS[retries]}s`;
    await context.publisher.untilTaken(
      `${queue}.retry`,
      rung,
      message.content,
      copyOf(message, { "x-choros-retries": retries + 1 }),
    );
    context.channel.ack(message);
    say("retried", { retries: retries + 1 });
  }
}

function readFact(message) {
  // rules 2 and 4
  const fact = readEvent(message);
  if (fact.sagakind !== "fact" || !fact.factstream || !(fact.factseq >= 1)) throw new Unacceptable("It is no fact.");
  const { exchange } = message.fields;
  const own = `${ns}.${fact.source.split("/").at(-1)}.facts`;
  const shared = [`${ns}.facts`, `${ns}.retry`].includes(exchange);
  if (exchange !== own && !shared && exchange.endsWith(".facts"))
    throw new Unacceptable("It came by the way of another publisher.");
  const reaction = subscription[fact.type];
  if (!reaction && exchange !== own && !shared) throw new Unacceptable("It is of an unknown type.");
  if (reaction) checkBody(fact.data, settings.contract.facts[fact.type]);
  return { ...fact, reaction };
}

// --- at work ----------------------------------------------------------------------------------------------------------

async function consume(connection, queue, take, context) {
  const channel = await connection.createChannel();
  await channel.prefetch(20);
  const receive = (message) => take({ ...context, channel }, message).catch((error) => connection.emit("error", error));
  await channel.consume(queue, receive);
}

function obey(line, barrier) {
  const said = JSON.parse(line);
  if (said.release) held.get(said.release)?.();
  if (said.forget) say("forgot", { rows: barrier.forget() });
}

const connection = await amqp.connect(settings.url);
connection.on("error", (error) => {
  console.error(error);
  process.exit(1);
});
await (settings.declares ? declare : look)(await connection.createChannel());
const barrier = new Barrier(settings.database, { source: `/${ns}/${service}`, refusals: commands });
const context = { barrier, publisher: await Publisher.open(connection) };
await sendUnconfirmed(context);
await consume(connection, `${ns}.${service}`, takeCommand, context);
await consume(connection, `${ns}.facts.${subscriber}`, takeFact, context);
createInterface({ input: process.stdin })
  .on("line", (line) => obey(line, barrier))
  .on("close", () => process.exit(0));
say("ready");
