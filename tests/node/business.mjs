// What the service is there for: it charges, refunds and sends. Orders are called by what shall happen to them.

export class Refused extends Error {
  constructor(code, data) {
    super(code);
    this.data = data;
  }
}

const charge = (db, { order, amount }, { attempt }) => {
  db.prepare("INSERT INTO ledger VALUES (?, ?)").run(order, amount);
  if (order.startsWith("flaky-") && attempt === 1) throw new Error("the till is jammed");
  if (order.startsWith("tired-")) throw new Refused("too_tired"); // which nobody has declared
  if (order.startsWith("curt-")) throw new Refused("card_declined"); // data may be left out
  if (amount > 1000) throw new Refused("card_declined", { limit: 1000 });
  return ["charged.v1", { payment: `p-${order}` }];
};

const refund = (db, { order }) => {
  db.prepare("INSERT INTO ledger SELECT name, -amount FROM ledger WHERE name = ?").run(order);
  return ["choros.done.v1", {}];
};

const send = (db, { order }) => {
  if (order.startsWith("nowhere-")) throw new Refused("no_such_address");
  if (order.startsWith("broken-")) throw new Error("the franking machine is broken");
  return ["choros.done.v1", {}];
};

export const business = { "charge.v1": charge, "refund.v1": refund, "send.v1": send };

const remember = (db, { order }, fact) => {
  db.prepare("INSERT INTO heard VALUES (?)").run(order);
  const tried = db.prepare("SELECT count(*) AS times FROM inbox_tries WHERE id = ?").get(fact.id).times;
  if (order.startsWith("late-") && !tried) throw new Error("the archive is closed");
};

export const subscription = { "bought.v1": remember };
