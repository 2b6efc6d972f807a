BEGIN TRANSACTION;
CREATE TABLE choros_barrier (
        namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL,
        unsent INTEGER, PRIMARY KEY (namespace, key)) WITHOUT ROWID;
INSERT INTO "choros_barrier" VALUES('old.bank','0d33bbaa-8130-888a-b5a5-8d91caefad75:pay:1:do','refused','{"id":"01a224c3-ee95-73ad-9e7b-a4f221a7ca18","kind":"reply","type":"choros.failure.v1","source":"/old/bank","time":1795913150.1011698,"data":"{\"code\":\"declined\",\"detail\":\"\",\"step\":\"pay\",\"kind\":\"refused\"}","to":"old.replies.desk","subject":"poor","correlation_id":"0d33bbaa-8130-888a-b5a5-8d91caefad75","causation_id":"01a224c3-ee93-705d-887d-b9925c532980","key":"0d33bbaa-8130-888a-b5a5-8d91caefad75:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"refused"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.bank','2b07b012-71d3-8225-b20f-f37a7bf73e9a:pay:1:do','ok','{"id":"01a224c3-ee63-7799-86da-5a5c824bb7f9","kind":"reply","type":"choros.done.v1","source":"/old/bank","time":1795913150.0518582,"data":"{}","to":"old.replies.desk","subject":"completed","correlation_id":"2b07b012-71d3-8225-b20f-f37a7bf73e9a","causation_id":"01a224c3-ee62-77b0-a6c3-d2e9fdce15f3","key":"2b07b012-71d3-8225-b20f-f37a7bf73e9a:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"ok"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.bank','9ee977e4-3858-80c1-8ce0-76901003c584:pay:1:do','ok','{"id":"01a224c3-f687-7e88-a274-441491e6196c","kind":"reply","type":"choros.done.v1","source":"/old/bank","time":1795913152.1350098,"data":"{}","to":"old.replies.desk","subject":"silent","correlation_id":"9ee977e4-3858-80c1-8ce0-76901003c584","causation_id":"01a224c3-f685-787a-90ea-884b12424f9e","key":"9ee977e4-3858-80c1-8ce0-76901003c584:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"ok"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.bank','d15692de-dc30-8cf6-9c18-79e885d83dc2:pay:1:do','refused','{"id":"01a224c3-ee78-7c40-9e70-d89af2776b78","kind":"reply","type":"choros.failure.v1","source":"/old/bank","time":1795913150.0720165,"data":"{\"code\":\"declined\",\"detail\":\"\",\"step\":\"pay\",\"kind\":\"refused\"}","to":"old.replies.desk","subject":"poor","correlation_id":"d15692de-dc30-8cf6-9c18-79e885d83dc2","causation_id":"01a224c3-ee77-770a-8204-5dd982d17890","key":"d15692de-dc30-8cf6-9c18-79e885d83dc2:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"refused"}',NULL,NULL);
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
