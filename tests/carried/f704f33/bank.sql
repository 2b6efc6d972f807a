BEGIN TRANSACTION;
CREATE TABLE choros_barrier (
        namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL,
        unsent INTEGER, began REAL, since REAL, memory TEXT, PRIMARY KEY (namespace, key)) WITHOUT ROWID;
INSERT INTO "choros_barrier" VALUES('old.bank','0d33bbaa-8130-888a-b5a5-8d91caefad75:pay:1:do','refused','{"id":"01a227e9-ee99-77ff-826c-f0e01cab0a78","kind":"reply","type":"choros.failure.v1","source":"/old/bank","time":1795965972.1218288,"data":"{\"code\":\"declined\",\"detail\":\"\",\"step\":\"pay\",\"kind\":\"refused\"}","to":"old.replies.desk.b8388b9747a7","subject":"poor","correlation_id":"0d33bbaa-8130-888a-b5a5-8d91caefad75","causation_id":"01a227e9-ee84-74e5-9cd2-4f065846213b","key":"0d33bbaa-8130-888a-b5a5-8d91caefad75:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"refused"}',NULL,NULL,1.79596597210039806368e+09,1.79596597212177896494e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.bank','2b07b012-71d3-8225-b20f-f37a7bf73e9a:pay:1:do','ok','{"id":"01a227e9-ee36-7556-b859-4017e91ffcec","kind":"reply","type":"choros.done.v1","source":"/old/bank","time":1795965972.0222845,"data":"{}","to":"old.replies.desk.b8388b9747a7","subject":"completed","correlation_id":"2b07b012-71d3-8225-b20f-f37a7bf73e9a","causation_id":"01a227e9-ee34-7e43-9f87-15581b2cbf0c","key":"2b07b012-71d3-8225-b20f-f37a7bf73e9a:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"ok"}',NULL,NULL,1.79596597202041101458e+09,1.79596597202228116987e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.bank','9ee977e4-3858-80c1-8ce0-76901003c584:pay:1:do','ok','{"id":"01a227e9-f7c9-740b-adaa-6a9378fdb532","kind":"reply","type":"choros.done.v1","source":"/old/bank","time":1795965974.473734,"data":"{}","to":"old.replies.desk.b8388b9747a7","subject":"silent","correlation_id":"9ee977e4-3858-80c1-8ce0-76901003c584","causation_id":"01a227e9-f7ae-7137-b0ca-aa2d99f9fd6b","key":"9ee977e4-3858-80c1-8ce0-76901003c584:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"ok"}',NULL,NULL,1.7959659744456129074e+09,1.79596597447372746461e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.bank','d15692de-dc30-8cf6-9c18-79e885d83dc2:pay:1:do','refused','{"id":"01a227e9-ee5e-7bdd-a254-60c945a42f05","kind":"reply","type":"choros.failure.v1","source":"/old/bank","time":1795965972.0628352,"data":"{\"code\":\"declined\",\"detail\":\"\",\"step\":\"pay\",\"kind\":\"refused\"}","to":"old.replies.desk.b8388b9747a7","subject":"poor","correlation_id":"d15692de-dc30-8cf6-9c18-79e885d83dc2","causation_id":"01a227e9-ee5c-7c4f-a762-bda0b76bc72d","key":"d15692de-dc30-8cf6-9c18-79e885d83dc2:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"refused"}',NULL,NULL,1.79596597205997395517e+09,1.79596597206280517581e+09,'commands');
CREATE TABLE choros_horizon (
        namespace TEXT NOT NULL, memory TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (namespace, memory))
        WITHOUT ROWID;
CREATE TABLE choros_schema (
        namespace TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "choros_schema" VALUES('old.bank',3);
CREATE TABLE effect (what TEXT, who TEXT);
INSERT INTO "effect" VALUES('pay','completed');
INSERT INTO "effect" VALUES('pay','silent');
CREATE INDEX choros_barrier_unsent ON choros_barrier (namespace, unsent)
        WHERE unsent IS NOT NULL;
CREATE INDEX choros_barrier_forget_at ON choros_barrier (namespace, prune_at)
        WHERE prune_at IS NOT NULL;
CREATE INDEX choros_barrier_aging ON choros_barrier (namespace, memory, since)
        WHERE memory IS NOT NULL;
COMMIT;
PRAGMA user_version = 0;
