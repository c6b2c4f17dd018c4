/** The configurations that come with the package. */
import siglip256 from "./ViT-SO400M-16-SigLIP2-256.json" with { type: "json" };
import toklip256 from "./ViT-SO400M-16-SigLIP2-256-toklip.json" with { type: "json" };
import siglip384 from "./ViT-SO400M-16-SigLIP2-384.json" with { type: "json" };
import toklip384 from "./ViT-SO400M-16-SigLIP2-384-toklip.json" with { type: "json" };

/** The built-in configurations, as parsed JSON, by name. */
export const BUILT_IN_CONFIGS: Readonly<Record<string, unknown>> = {
  "ViT-SO400M-16-SigLIP2-256-toklip": toklip256,
  "ViT-SO400M-16-SigLIP2-384-toklip": toklip384,
  "ViT-SO400M-16-SigLIP2-256": siglip256,
  "ViT-SO400M-16-SigLIP2-384": siglip384,
};
