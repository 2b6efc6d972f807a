BEGIN TRANSACTION;
CREATE TABLE choros_barrier (
        key TEXT PRIMARY KEY, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL, unsent INTEGER) WITHOUT ROWID;
INSERT INTO "choros_barrier" VALUES('0d33bbaa-8130-888a-b5a5-8d91caefad75:pay:1:do','refused','{"id":"01a2248e-88f6-708b-b694-575c8c744b68","kind":"reply","type":"choros.failure.v1","source":"/old/bank","time":1795909650.6784277,"data":"{\"code\":\"declined\",\"detail\":\"\",\"step\":\"pay\",\"kind\":\"refused\"}","to":"old.replies.desk","subject":"poor","correlation_id":"0d33bbaa-8130-888a-b5a5-8d91caefad75","causation_id":"01a2248e-88f4-733b-b619-0a34487dedf6","key":"0d33bbaa-8130-888a-b5a5-8d91caefad75:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"refused"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('2b07b012-71d3-8225-b20f-f37a7bf73e9a:pay:1:do','ok','{"id":"01a2248e-8898-79ed-b865-920a42405fd3","kind":"reply","type":"choros.done.v1","source":"/old/bank","time":1795909650.5846262,"data":"{}","to":"old.replies.desk","subject":"completed","correlation_id":"2b07b012-71d3-8225-b20f-f37a7bf73e9a","causation_id":"01a2248e-8894-7796-8159-f41260ca3a8d","key":"2b07b012-71d3-8225-b20f-f37a7bf73e9a:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"ok"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('9ee977e4-3858-80c1-8ce0-76901003c584:pay:1:do','ok','{"id":"01a2248e-910c-71dd-ae89-6b4ae3de513c","kind":"reply","type":"choros.done.v1","source":"/old/bank","time":1795909652.748754,"data":"{}","to":"old.replies.desk","subject":"silent","correlation_id":"9ee977e4-3858-80c1-8ce0-76901003c584","causation_id":"01a2248e-910b-732e-8591-b0d516edbd6e","key":"9ee977e4-3858-80c1-8ce0-76901003c584:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"ok"}',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('d15692de-dc30-8cf6-9c18-79e885d83dc2:pay:1:do','refused','{"id":"01a2248e-88b1-78d0-9385-f25c2a12972b","kind":"reply","type":"choros.failure.v1","source":"/old/bank","time":1795909650.609331,"data":"{\"code\":\"declined\",\"detail\":\"\",\"step\":\"pay\",\"kind\":\"refused\"}","to":"old.replies.desk","subject":"poor","correlation_id":"d15692de-dc30-8cf6-9c18-79e885d83dc2","causation_id":"01a2248e-88ae-7aea-ae67-871676ec2a85","key":"d15692de-dc30-8cf6-9c18-79e885d83dc2:pay:1:do","saga":"trip","saga_version":1,"step":"pay","attempt":1,"outcome":"refused"}',NULL,NULL);
CREATE TABLE effect (what TEXT, who TEXT);
INSERT INTO "effect" VALUES('pay','completed');
INSERT INTO "effect" VALUES('pay','silent');
CREATE INDEX choros_barrier_unsent ON choros_barrier (unsent) WHERE unsent IS NOT NULL;
CREATE INDEX choros_barrier_forget_at ON choros_barrier (prune_at) WHERE prune_at IS NOT NULL;
COMMIT;
PRAGMA user_version = 0;
