BEGIN TRANSACTION;
CREATE TABLE choros_barrier (
        namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL,
        unsent INTEGER, began REAL, since REAL, memory TEXT, PRIMARY KEY (namespace, key)) WITHOUT ROWID;
INSERT INTO "choros_barrier" VALUES('old.ledger','factledger/old/desk0d33bbaa-8130-888a-b5a5-8d91caefad753','handled','',NULL,NULL,1.79596597221919393539e+09,1.79596597243805909159e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.ledger','factledger/old/desk2b07b012-71d3-8225-b20f-f37a7bf73e9a2','handled','',NULL,NULL,1795965972.02347,1.79596597225513935087e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.ledger','factledger/old/deskd15692de-dc30-8cf6-9c18-79e885d83dc23','handled','',NULL,NULL,1.79596597207058906553e+09,1.79596597234454751013e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.ledger','streamledger/old/desk0d33bbaa-8130-888a-b5a5-8d91caefad75','mark','3',NULL,NULL,1.79596603221919393546e+09,1.79596603221919393546e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.ledger','streamledger/old/desk2b07b012-71d3-8225-b20f-f37a7bf73e9a','mark','2',NULL,NULL,1795966032.02347,1795966032.02347,'facts');
INSERT INTO "choros_barrier" VALUES('old.ledger','streamledger/old/deskd15692de-dc30-8cf6-9c18-79e885d83dc2','mark','3',NULL,NULL,1.79596603207058906548e+09,1.79596603207058906548e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.ledger','typesledger','mark','{"heard": {"carried.trip-booked.v1": 1795965972.0090437, "carried.trip-failed.v1": 1795965972.0090437}, "unread": ["carried.trip-booked.v1", "carried.trip-failed.v1"]}',NULL,NULL,NULL,0.0,NULL);
CREATE TABLE choros_horizon (
        namespace TEXT NOT NULL, memory TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (namespace, memory))
        WITHOUT ROWID;
CREATE TABLE choros_schema (
        namespace TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "choros_schema" VALUES('old.ledger',3);
CREATE TABLE effect (what TEXT, who TEXT);
INSERT INTO "effect" VALUES('TripBooked','completed');
INSERT INTO "effect" VALUES('TripFailed','poor');
INSERT INTO "effect" VALUES('TripFailed','poor');
CREATE INDEX choros_barrier_unsent ON choros_barrier (namespace, unsent)
        WHERE unsent IS NOT NULL;
CREATE INDEX choros_barrier_forget_at ON choros_barrier (namespace, prune_at)
        WHERE prune_at IS NOT NULL;
CREATE INDEX choros_barrier_aging ON choros_barrier (namespace, memory, since)
        WHERE memory IS NOT NULL;
COMMIT;
PRAGMA user_version = 0;
