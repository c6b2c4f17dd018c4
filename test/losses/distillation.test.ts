// The distillation losses: the reference's number, and their gradients.
import { describe, expect, test } from "vitest";
import { ndarray } from "../../src/core/index.ts";
import { Graph, gradients, interpretGraph } from "../../src/graph/index.ts";
import { imageDistillationLoss, tokenDistillationLoss } from "../../src/losses/index.ts";
import { goldenJson, goldenTensors } from "../goldens.ts";

test("the loss of image features is the reference's", async () => {
  const golden = await goldenTensors("train/golden_train.safetensors");
  const { first_step_losses_fp64: losses } = goldenJson("train/golden_train.json") as {
    first_step_losses_fp64: { distill_loss: number };
  };
  const [student, teacher] = [await golden("loss_in.image_features"), await golden("loss_in.dist_image_features")];
  const graph = new Graph();
  const fed = (name: string) => graph.input(name, "f32", student.shape);
  graph.output("loss", imageDistillationLoss(fed("student"), fed("teacher")));
  const loss = interpretGraph(graph, { student, teacher }).get("loss")!.data[0]!;
  expect(Math.abs(loss / losses.distill_loss - 1)).toBeLessThan(1e-6);
});

describe.each([
  { name: "image features", loss: imageDistillationLoss, weight: 1000, shape: [2, 3] },
  { name: "token features", loss: tokenDistillationLoss, weight: 10, shape: [2, 2, 3] },
])("the loss of $name", ({ loss, weight, shape }) => {
  const student = Float64Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i));
  const teacher = student.map((_, i) => Math.cos(3 * i));
  const run = (chosen?: number) => {
    const graph = new Graph();
    const fed = graph.input("student", "f32", shape);
    const value = loss(fed, graph.input("teacher", "f32", shape), chosen);
    graph.output("loss", value);
    graph.output("gradient", gradients(value, [fed])[0]!);
    return interpretGraph(graph, { student: ndarray("f64", shape, student), teacher: ndarray("f64", shape, teacher) });
  };

  test("is the weighted mean square over all elements", () => {
    const mean = student.reduce((sum, value, i) => sum + (value - teacher[i]!) ** 2, 0) / student.length;
    expect(run().get("loss")!.data[0]).toBeCloseTo(weight * mean, 10);
    expect(run(0.5).get("loss")!.data[0]).toBeCloseTo(0.5 * mean, 12);
  });

  test("draws the student to the teacher", () => {
    run(1)
      .get("gradient")!
      .data.forEach((slope, i) => {
        expect(slope).toBeCloseTo((2 * (student[i]! - teacher[i]!)) / student.length, 7);
      });
  });

  test("gives the teacher no gradient", () => {
    const graph = new Graph();
    const [fed, still] = [graph.input("student", "f32", shape), graph.input("teacher", "f32", shape)];
    expect(() => gradients(loss(fed, still), [still])).toThrow("does not depend on");
  });
});
