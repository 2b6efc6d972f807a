BEGIN TRANSACTION;
CREATE TABLE choros_barrier (
        namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL,
        unsent INTEGER, PRIMARY KEY (namespace, key)) WITHOUT ROWID;
INSERT INTO "choros_barrier" VALUES('old.ledger','factledger/old/desk0d33bbaa-8130-888a-b5a5-8d91caefad753','handled','',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.ledger','factledger/old/desk2b07b012-71d3-8225-b20f-f37a7bf73e9a2','handled','',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.ledger','factledger/old/deskd15692de-dc30-8cf6-9c18-79e885d83dc23','handled','',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.ledger','streamledger/old/desk0d33bbaa-8130-888a-b5a5-8d91caefad75','mark','3',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.ledger','streamledger/old/desk2b07b012-71d3-8225-b20f-f37a7bf73e9a','mark','2',NULL,NULL);
INSERT INTO "choros_barrier" VALUES('old.ledger','streamledger/old/deskd15692de-dc30-8cf6-9c18-79e885d83dc2','mark','3',NULL,NULL);
CREATE TABLE choros_schema (
        namespace TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "choros_schema" VALUES('old.ledger',2);
CREATE TABLE effect (what TEXT, who TEXT);
INSERT INTO "effect" VALUES('TripBooked','completed');
INSERT INTO "effect" VALUES('TripFailed','poor');
INSERT INTO "effect" VALUES('TripFailed','poor');
CREATE INDEX choros_barrier_unsent ON choros_barrier (namespace, unsent)
        WHERE unsent IS NOT NULL;
CREATE INDEX choros_barrier_forget_at ON choros_barrier (namespace, prune_at)
        WHERE prune_at IS NOT NULL;
COMMIT;
PRAGMA user_version = 0;
