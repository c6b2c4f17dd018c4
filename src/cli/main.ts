#!/usr/bin/env node
/** The `toklip` command. */
import { nodeEngine } from "./engine.ts";
import { start } from "./process.ts";

await start(nodeEngine);
