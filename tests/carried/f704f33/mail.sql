BEGIN TRANSACTION;
CREATE TABLE choros_barrier (
        namespace TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL, reply TEXT NOT NULL, prune_at REAL,
        unsent INTEGER, began REAL, since REAL, memory TEXT, PRIMARY KEY (namespace, key)) WITHOUT ROWID;
INSERT INTO "choros_barrier" VALUES('old.mail','factmail/old/desk0d33bbaa-8130-888a-b5a5-8d91caefad751','handled','',NULL,NULL,1.7959659720945060253e+09,1.79596597209705734253e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.mail','factmail/old/desk0d33bbaa-8130-888a-b5a5-8d91caefad752','handled','',NULL,NULL,1.79596597221919393539e+09,1.79596597243718194962e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.mail','factmail/old/desk2b07b012-71d3-8225-b20f-f37a7bf73e9a1','handled','',NULL,NULL,1.79596597201276111607e+09,1.79596597201814484599e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.mail','factmail/old/desk39ae1eff-8763-8132-9b35-da9e0bf7de181','handled','',NULL,NULL,1.79596597209768605229e+09,1.79596597210720634462e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.mail','factmail/old/deskd15692de-dc30-8cf6-9c18-79e885d83dc21','handled','',NULL,NULL,1.79596597204027199744e+09,1.7959659720461325646e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.mail','factmail/old/deskd15692de-dc30-8cf6-9c18-79e885d83dc22','handled','',NULL,NULL,1.79596597207058906553e+09,1.79596597233657598495e+09,'facts');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmail0d33bbaa-8130-888a-b5a5-8d91caefad75:carried.trip-announced.v1:1:do','ok','',NULL,NULL,1.7959659720945060253e+09,1.79596597209698867793e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmail0d33bbaa-8130-888a-b5a5-8d91caefad75:carried.trip-announced.v1[announce]:1:do','ok','',NULL,NULL,1.7959659720945060253e+09,1.79596597209698867793e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmail0d33bbaa-8130-888a-b5a5-8d91caefad75:carried.trip-announced.v1[announce]:1:undo','ok','',NULL,NULL,1.7959659720945060253e+09,1.79596597243709826469e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmail2b07b012-71d3-8225-b20f-f37a7bf73e9a:carried.trip-announced.v1:1:do','ok','',NULL,NULL,1.79596597201276111607e+09,1.79596597201806950565e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmail2b07b012-71d3-8225-b20f-f37a7bf73e9a:carried.trip-announced.v1[announce]:1:do','ok','',NULL,NULL,1.79596597201276111607e+09,1.79596597201806950565e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmail39ae1eff-8763-8132-9b35-da9e0bf7de18:carried.trip-announced.v1:1:do','ok','',NULL,NULL,1.79596597209768605229e+09,1.79596597210713505745e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmail39ae1eff-8763-8132-9b35-da9e0bf7de18:carried.trip-announced.v1[announce]:1:do','ok','',NULL,NULL,1.79596597209768605229e+09,1.79596597210713505745e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmaild15692de-dc30-8cf6-9c18-79e885d83dc2:carried.trip-announced.v1:1:do','ok','',NULL,NULL,1.79596597204027199744e+09,1.79596597204592633252e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmaild15692de-dc30-8cf6-9c18-79e885d83dc2:carried.trip-announced.v1[announce]:1:do','ok','',NULL,NULL,1.79596597204027199744e+09,1.79596597204592633252e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','reactionmaild15692de-dc30-8cf6-9c18-79e885d83dc2:carried.trip-announced.v1[announce]:1:undo','ok','',NULL,NULL,1.79596597204027199744e+09,1.79596597233649158485e+09,'commands');
INSERT INTO "choros_barrier" VALUES('old.mail','typesmail','mark','{"heard": {"carried.trip-announced.v1": 1795965972.0079896, "carried.trip-withdrawn.v1": 1795965972.0079896}, "unread": ["carried.trip-announced.v1", "carried.trip-withdrawn.v1"]}',NULL,NULL,NULL,0.0,NULL);
CREATE TABLE choros_horizon (
        namespace TEXT NOT NULL, memory TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (namespace, memory))
        WITHOUT ROWID;
CREATE TABLE choros_schema (
        namespace TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO "choros_schema" VALUES('old.mail',3);
CREATE TABLE effect (what TEXT, who TEXT);
INSERT INTO "effect" VALUES('congratulate','completed');
INSERT INTO "effect" VALUES('congratulate','poor');
INSERT INTO "effect" VALUES('congratulate','poor');
INSERT INTO "effect" VALUES('congratulate','parked');
INSERT INTO "effect" VALUES('apologize','poor');
INSERT INTO "effect" VALUES('apologize','poor');
CREATE INDEX choros_barrier_unsent ON choros_barrier (namespace, unsent)
        WHERE unsent IS NOT NULL;
CREATE INDEX choros_barrier_forget_at ON choros_barrier (namespace, prune_at)
        WHERE prune_at IS NOT NULL;
CREATE INDEX choros_barrier_aging ON choros_barrier (namespace, memory, since)
        WHERE memory IS NOT NULL;
COMMIT;
PRAGMA user_version = 0;
