/**
 * `toklip/node/train`: training in Node. Apart from `toklip/node`, so that using a model does not load it.
 *
 * @example
 * import { train } from "toklip/node/train";
 * const config = { model: "toklip.json", data: { train: "pictures" }, batch_size: 16, steps: 1000 };
 * const { model } = await train({ kind: "vq", config, name: "first try", out: "runs/first" });
 */
export { findDataFiles, nodeDataFiles } from "./data-files.ts";
export { createDecodePool, type DecodePool, type DecodePoolOptions } from "./decode-pool.ts";
export { communicatorFromEnvironment, createMpiCommunicator, type MpiCommunicator, type MpiOptions } from "./mpi.ts";
export { createOrtBackend, type OrtBackendOptions } from "./ort-backend.ts";
export { pictureWriter, readRunFolder, withRunFolder } from "./run-folder.ts";
export { findShards, nodeShardSource } from "./shard-source.ts";
export { type TrainOptions, type TrainResult, train } from "./train.ts";
export { openDataSource } from "./train-data.ts";
export { type EstimateRunOptions, estimateRun, type RunEstimate } from "./train-estimate.ts";
export { type ExportRunOptions, exportRun } from "./train-export.ts";
