/**
 * What the results of frozen parts depend on, as plain JSON: equal exactly when cached results may be used.
 * The weights are in it by a fingerprint, see `weightsPrint`.
 */
import type { JsonValue } from "../data/dataset.ts";
import { vqOf, weightsPrint } from "../models/index.ts";
import { wantedFeatures } from "./toklip-objective.ts";
import type { GivenParts } from "./towers-trainer.ts";

/** Changes when the same parts would give other results in a new version of this project. */
const VERSION = 1;

/**
 * The identities of what is made of pictures and of texts.
 * @param engine what the parts run on, and how: whatever may change a rounding
 * @throws CHECKPOINT_MISMATCH, FILE_CORRUPT, FILE_READ_FAILED
 */
export async function frozenIdentities(
  parts: GivenParts,
  engine: { readonly [name: string]: JsonValue },
): Promise<{ readonly pictures: JsonValue; readonly texts: JsonValue }> {
  const { model, frozenCheckpoints: checkpoints = parts.checkpoints, teacher } = parts;
  const wanted = wantedFeatures(parts.weights);
  const isTaught = wanted.teacher || wanted.teacherTokens;
  const taught = isTaught &&
    teacher && {
      trunk: plain(teacher.config.trunk),
      weights: await weightsPrint("pixel_encoder", teacher.config, [teacher.checkpoint]),
    };
  const common = { version: VERSION, engine };
  const pictures = {
    ...common,
    image_size: model.trunk.imageSize,
    vq: plain(vqOf(model)),
    vq_weights: await weightsPrint("vq_encoder", model, checkpoints),
    teacher: taught || null,
    teacher_features: wanted.teacher,
    teacher_tokens: wanted.teacherTokens,
  };
  const texts = {
    ...common,
    text: plain(model.text),
    weights: wanted.text ? await weightsPrint("text_encoder", model, checkpoints) : null,
  };
  return { pictures, texts };
}

function plain(value: unknown): JsonValue {
  return JSON.parse(JSON.stringify(value ?? null)) as JsonValue;
}
