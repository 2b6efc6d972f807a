// The barrier and the inbox (sections 5 and 7), in one SQLite file with the effects. Everything in a transaction is
// synchronous, so one command at a time is in it; BEGIN IMMEDIATE keeps other processes out (rule 2).

import { randomUUID } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { Refused, subscription } from "./business.mjs";

const SKEW = 60;
const A_DAY = 86_400;
const COPIED = [
  "subject",
  "correlationid",
  "idempotencykey",
  "saganame",
  "sagaversion",
  "sagastep",
  "sagaattempt",
  "traceparent",
  "tracestate",
];
const SCHEMA = `
  PRAGMA journal_mode = WAL;
  PRAGMA busy_timeout = 10000;
  CREATE TABLE IF NOT EXISTS barrier (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, answer TEXT, id TEXT, confirmed INTEGER NOT NULL DEFAULT 0, began REAL, keep_until REAL);
  CREATE TABLE IF NOT EXISTS horizon (one INTEGER PRIMARY KEY CHECK (one = 1), moment REAL NOT NULL);
  CREATE TABLE IF NOT EXISTS inbox (
    subscriber TEXT, source TEXT, stream TEXT, seq INTEGER, PRIMARY KEY (subscriber, source, stream, seq));
  CREATE TABLE IF NOT EXISTS inbox_tries (id TEXT);
  CREATE TABLE IF NOT EXISTS ledger (name TEXT, amount INTEGER);
  CREATE TABLE IF NOT EXISTS heard (name TEXT);`;
const now = () => Date.now() / 1000;

export class Barrier {
  constructor(file, { source, refusals }) {
    this.db = new DatabaseSync(file);
    this.db.exec(SCHEMA);
    this.source = source;
    this.commands = refusals;
  }

  // The answer to a command, and whether it was carried out just now.
  transact(command, business) {
    this.fresh = false;
    this.db.exec("BEGIN IMMEDIATE");
    try {
      const answer = this[`_${command.operation}`](command, business);
      this.db.exec("COMMIT");
      return { answer, fresh: this.fresh };
    } catch (error) {
      // rules 4, 9 and 11: a failure is answered and never stored
      if (this.db.isTransaction) this.db.exec("ROLLBACK");
      return { answer: this._failure(command, "failed", error.code ?? error.name, error.message), fresh: false };
    }
  }

  _do(command, business) {
    const { event, effect } = command;
    const key = `${effect}:do`;
    const row = this._row(key);
    const deadline = event.expirytime;
    if (row?.answer) return row.answer;
    if (row)
      return this._store(key, "tombstone", this._failure(command, "refused", "cancelled"), command, row.keep_until);
    if (this._behind(command)) return this._forgotten(command);
    const until = deadline === undefined ? null : deadline + 2 * SKEW + A_DAY;
    if (deadline !== undefined && now() > deadline + SKEW) {
      return this._store(key, "refused", this._failure(command, "refused", "expired"), command, until);
    }
    return this._carryOut(key, command, business, until);
  }

  _carryOut(key, command, business, until) {
    // rule 4
    this.db.prepare("INSERT INTO barrier (key, state) VALUES (?, 'running')").run(key);
    this.db.exec("SAVEPOINT effect");
    try {
      const [type, body] = business[command.event.type](this.db, command.event.data, {
        attempt: command.event.sagaattempt,
      });
      this.fresh = true;
      return this._store(key, "ok", this._answer(command, "ok", type, body), command, null);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const declared = this.commands[command.event.type].refused["choros.failure.v1"].properties.code.enum;
      if (!declared.includes(error.message)) throw Object.assign(new Error(error.message), { code: "undeclared" }); // rule 10
      this.db.exec("ROLLBACK TO effect");
      const answer = this._failure(command, "refused", error.message, "", error.data);
      return this._store(key, "refused", answer, command, until);
    }
  }

  _undo(command, business) {
    const key = `${command.effect}:undo`;
    const row = this._row(key);
    const done = this._row(`${command.effect}:do`);
    const nothing = () => this._answer(command, "ok", "choros.nothing-to-undo.v1", {});
    if (row?.answer) return row.answer;
    if (row) return this._store(key, "tombstone", nothing(), command, null);
    if ((!done || done.state === "ok") && this._behind(command)) return this._forgotten(command);
    if (done?.state !== "ok") {
      this._bury(`${command.effect}:do`, command, done);
      return this._store(key, "ok", nothing(), command, null);
    }
    const [type, body] = business[command.event.type](this.db, command.event.data, {});
    this.fresh = true;
    return this._store(key, "ok", this._answer(command, "ok", type, body), command, null);
  }

  _close(command) {
    const target = command.event.data.of;
    const key = `${command.effect}:close:${target}`;
    const row = this._row(key);
    const outcome = this._row(`${command.effect}:${target}`);
    if (row) return row.answer;
    if (["ok", "refused"].includes(outcome?.state)) return this._store(key, "ok", outcome.answer, command, null);
    if (!outcome && this._behind(command)) return this._forgotten(command);
    const done = this._row(`${command.effect}:do`);
    if (!done || target === "do") this._bury(`${command.effect}:do`, command, done);
    if (target === "undo") this._bury(`${command.effect}:undo`, command, outcome);
    return this._store(key, "ok", this._answer(command, "ok", "choros.closed.v1", {}), command, null);
  }

  // A tombstone, or a longer life for what is there.
  _bury(key, { event }, row) {
    const deadline = event.doexpirytime ?? event.expirytime;
    const until = deadline === undefined || key.endsWith(":undo") ? null : deadline + 2 * SKEW;
    const began = event.begantime ?? null;
    if (!row)
      this.db
        .prepare("INSERT INTO barrier (key, state, began, keep_until) VALUES (?, 'tombstone', ?, ?)")
        .run(key, began, until);
    else {
      const longer = until === null || row.keep_until === null ? null : Math.max(until, row.keep_until);
      this.db.prepare("UPDATE barrier SET keep_until = ? WHERE key = ?").run(longer, key);
    }
  }

  _row(key) {
    const row = this.db.prepare("SELECT * FROM barrier WHERE key = ?").get(key);
    return row && { ...row, answer: row.answer && JSON.parse(row.answer) };
  }

  _store(key, state, answer, { event }, until) {
    this.db
      .prepare("INSERT OR REPLACE INTO barrier (key, state, answer, id, began, keep_until) VALUES (?, ?, ?, ?, ?, ?)")
      .run(key, state, JSON.stringify(answer), answer.headers.cloudEvents_id, event.begantime ?? null, until);
    return answer;
  }

  // --- answers ---

  _answer({ event, replyTo }, outcome, type, body) {
    // rule 13
    const copied = COPIED.filter((name) => event[name] !== undefined).map((name) => [
      `cloudEvents_${name}`,
      event[name],
    ]);
    const headers = {
      ...Object.fromEntries(copied),
      cloudEvents_specversion: "1.0",
      cloudEvents_id: randomUUID(),
      cloudEvents_sagakind: "reply",
      cloudEvents_type: type,
      cloudEvents_source: this.source,
      cloudEvents_time: new Date().toISOString(),
      cloudEvents_causationid: event.id,
      cloudEvents_sagaoutcome: outcome,
    };
    return { headers, body, replyTo };
  }

  _failure(command, outcome, code, detail = "", data = undefined) {
    const body = { code, detail, step: command.event.sagastep, kind: outcome, ...(data && { data }) };
    return this._answer(command, outcome, "choros.failure.v1", body);
  }

  confirm(id) {
    this.db.prepare("UPDATE barrier SET confirmed = 1 WHERE id = ?").run(id);
  }

  unconfirmed() {
    return this.db
      .prepare("SELECT answer FROM barrier WHERE answer IS NOT NULL AND NOT confirmed")
      .all()
      .map((row) => JSON.parse(row.answer));
  }

  // --- the horizon ---

  _behind({ event }) {
    const horizon = this.db.prepare("SELECT moment FROM horizon").get()?.moment;
    return horizon !== undefined && event.begantime !== undefined && event.begantime <= horizon;
  }

  _forgotten(command) {
    return this._failure(command, "failed", "forgotten");
  }

  // Everything that may be forgotten, as if it had come of age.
  forget() {
    const may = "state = 'ok' AND confirmed AND began IS NOT NULL";
    this.db.exec("BEGIN IMMEDIATE");
    this.db.exec(`INSERT INTO horizon SELECT 1, max(began) FROM barrier WHERE ${may} HAVING max(began) IS NOT NULL
      ON CONFLICT DO UPDATE SET moment = max(moment, excluded.moment)`);
    const { changes } = this.db.prepare(`DELETE FROM barrier WHERE ${may}`).run();
    this.db.exec("COMMIT");
    return Number(changes);
  }

  // --- the inbox ---

  react(subscriber, fact) {
    const identity = [subscriber, fact.source, fact.factstream, fact.factseq];
    this.db.exec("BEGIN IMMEDIATE");
    try {
      const { changes } = this.db.prepare("INSERT OR IGNORE INTO inbox VALUES (?, ?, ?, ?)").run(...identity);
      if (changes) subscription[fact.type](this.db, fact.data, fact);
      this.db.exec("COMMIT");
      return changes ? "handled" : "repeated";
    } catch (error) {
      this.db.exec("ROLLBACK");
      this.db.prepare("INSERT INTO inbox_tries VALUES (?)").run(fact.id);
      throw error;
    }
  }
}
