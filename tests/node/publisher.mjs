// Publishing with confirms (section 2): taken is what the broker acknowledged and did not return.

import { randomUUID } from "node:crypto";

const PATIENCE = 10_000;
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

export class Publisher {
  static async open(connection) {
    const channel = await connection.createConfirmChannel();
    return new Publisher(channel);
  }

  constructor(channel) {
    this.channel = channel;
    this.returned = new Set();
    channel.on("return", (message) => this.returned.add(message.properties.messageId));
  }

  // Once; a fresh message_id tells which publish a return is of.
  send(exchange, key, body, properties) {
    const messageId = randomUUID().replaceAll("-", "");
    return new Promise((done) => {
      const late = setTimeout(() => done("silence"), PATIENCE);
      this.channel.publish(exchange, key, body, { ...properties, messageId, mandatory: true }, (nack) => {
        clearTimeout(late);
        done(nack ? "nack" : this.returned.delete(messageId) ? "returned" : "taken");
      });
    });
  }

  // Again and again; false if for so many milliseconds no queue was there to take it.
  async untilTaken(exchange, key, body, properties, goneAfter = Infinity) {
    const began = Date.now();
    for (let pause = 50; ; pause = Math.min(pause * 2, 2000)) {
      const fate = await this.send(exchange, key, body, properties);
      if (fate === "taken") return true;
      if (fate === "returned" && Date.now() - began >= goneAfter) return false;
      await sleep(pause);
    }
  }
}
