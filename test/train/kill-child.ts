/** A toy run in a process of its own, to be killed. Arguments: the folder, the number of steps. */
import { encodePng } from "../../src/node/image.ts";
import { withRunFolder } from "../../src/node/run-folder.ts";
import { fakePictures, runToy, ToyTrainer } from "./toy-run.ts";

const [folder, steps] = process.argv.slice(2);

await withRunFolder(folder!, (storage) =>
  runToy({
    storage,
    resume: true,
    // Large enough that most of the time goes into saving.
    trainer: new ToyTrainer(100_000),
    pictures: { ...fakePictures, encodePng },
    totalSteps: Number(steps),
    config: { name: "kill" },
    evaluateEvery: 7,
    onEvent: (event) => void (event.type === "step" && process.stdout.write(`${event.step}\n`)),
  }),
);
process.exit(0);
