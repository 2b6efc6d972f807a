BEGIN TRANSACTION;
CREATE TABLE choros_barrier (
        namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL,
        unsent INTEGER, PRIMARY KEY (namespace, key)) WITHOUT ROWID;
INSERT INTO "choros_barrier" VALUES('old.bank','0d33bbaa-8130-888a-b5a5-8d91caefad75:pay:1:do','refused','{"id":"01a2251b-3433-718c-9583-af4dfa0668ed","kind":"reply","type":"choros.failure.v1","source":"/old/bank","time":1795918869.555538,"data":"{\"code\":\"declined\",\"detail\":\"\",\"step\":\"pay\",\"kind\":\"refused\"}","to":"old.replies.desk","subject":"poor","correlation_id":"0d33bbaa-8130-888a-b5a5-8d91caefad75","causation_id":"01a2251b-3428-73b0-9d19-f35d96c7a0c8","key":"0d33bbaa-8130-888a-b5a5-8d91caefad75:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"refused"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.bank','2b07b012-71d3-8225-b20f-f37a7bf73e9a:pay:1:do','ok','{"id":"01a2251b-33c0-7bbc-94af-85e73be7e203","kind":"reply","type":"choros.done.v1","source":"/old/bank","time":1795918869.4404206,"data":"{}","to":"old.replies.desk","subject":"completed","correlation_id":"2b07b012-71d3-8225-b20f-f37a7bf73e9a","causation_id":"01a2251b-33b7-7039-ae89-adcc27a96757","key":"2b07b012-71d3-8225-b20f-f37a7bf73e9a:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"ok"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.bank','9ee977e4-3858-80c1-8ce0-76901003c584:pay:1:do','ok','{"id":"01a2251b-3d3f-7b1d-b333-1c1d481d3226","kind":"reply","type":"choros.done.v1","source":"/old/bank","time":1795918871.871307,"data":"{}","to":"old.replies.desk","subject":"silent","correlation_id":"9ee977e4-3858-80c1-8ce0-76901003c584","causation_id":"01a2251b-3d2d-733d-95b5-c38ddb48958c","key":"9ee977e4-3858-80c1-8ce0-76901003c584:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"ok"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.bank','d15692de-dc30-8cf6-9c18-79e885d83dc2:pay:1:do','refused','{"id":"01a2251b-33eb-74ad-a97d-ac3e21cdd7ec","kind":"reply","type":"choros.failure.v1","source":"/old/bank","time":1795918869.4835954,"data":"{\"code\":\"declined\",\"detail\":\"\",\"step\":\"pay\",\"kind\":\"refused\"}","to":"old.replies.desk","subject":"poor","correlation_id":"d15692de-dc30-8cf6-9c18-79e885d83dc2","causation_id":"01a2251b-33e4-7c73-a279-16299a6f1332","key":"d15692de-dc30-8cf6-9c18-79e885d83dc2:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"refused"}',NULL,NULL);
CREATE TABLE choros_schema (
        namespace TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "choros_schema" VALUES('old.bank',2);
CREATE TABLE effect (what TEXT, who TEXT);
INSERT INTO "effect" VALUES('pay','completed');
INSERT INTO "effect" VALUES('pay','silent');
CREATE INDEX choros_barrier_unsent ON choros_barrier (namespace, unsent)
        WHERE unsent IS NOT NULL;
CREATE INDEX choros_barrier_forget_at ON choros_barrier (namespace, prune_at)
        WHERE prune_at IS NOT NULL;
COMMIT;
PRAGMA user_version = 0;
