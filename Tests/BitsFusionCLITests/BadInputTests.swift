// SPDX-License-Identifier: Apache-2.0
// Every wrong input ends with one line on standard error and the exit status of its category, and leaves no file. The
// lines are recorded in Snapshots/errors.txt.

import BitsFusion
import Foundation
import TestKit
import Testing

/// A faulty command line and its exit status.
struct BadInput: Sendable, CustomTestStringConvertible {
    let command: String
    let status: Int32

    init(_ status: Int32, _ command: String) {
        (self.status, self.command) = (status, command)
    }

    var arguments: [String] { command.split(separator: " ").map(String.init) }
    var testDescription: String { command }
}

@Suite("Wrong inputs")
struct BadInputTests {
    private static let packing: [BadInput] = [
        BadInput(65, "quantize model.h5 --recipe unknown.json -o out"),
        BadInput(65, "quantize model.h5 --recipe wide.json -o out"),
        BadInput(65, "quantize model.h5 --recipe empty -o out"),
        BadInput(66, "quantize model.h5 --recipe gone.json -o out"),
        BadInput(65, "quantize nan.h5 --recipe recipe.json -o out"),
        BadInput(73, "quantize model.h5 --recipe recipe.json -o gone/out"),
        BadInput(73, "quantize model.h5 --recipe recipe.json -o ."),
        BadInput(64, "quantize model.h5 --cached-steps -3 -o out"),
        BadInput(65, "quantize model.h5 --recipe folder -o out"),
        BadInput(65, "quantize model.h5 --recipe steps.json -o out"),
        BadInput(64, "quantize model.h5 --recipe recipe.json -o recipe.json"),
        BadInput(64, "quantize model.h5 --recipe recipe.json -o model.h5"),
        BadInput(73, "analyze model.h5 --embeddings e.safetensors -o ."),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --shard 9/8 -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --shard 2/2 --layers ^conv_in$ -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --measure latents -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --num-prompts 3 -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --timesteps 0 -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --num-prompts 9223372036854775807 -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --qat-learning-rate 1 -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --measure fisher --qat-steps 2 -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --size 0 -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --memory=-1 -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --clip e.safetensors -o out"),
        BadInput(65, "analyze model.h5 --embeddings e.safetensors --prompts empty -o out"),
        BadInput(66, "analyze model.h5 --embeddings e.safetensors --prompts gone -o out"),
        BadInput(64, "analyze model.h5 --embeddings e.safetensors --prompts config.json -o out"),
        BadInput(64, "analyze model.h5 --data set.h5 --measure images -o out"),
        BadInput(64, "analyze model.h5 --data set.h5 --prompts config.json -o out"),
        BadInput(66, "analyze model.h5 --data gone.h5 -o out"),
        BadInput(64, "dataset --model shapes -o out"),
        BadInput(64, "dataset folder --synthesize config.json --model shapes -o out"),
        BadInput(64, "dataset folder --model shapes --steps 3 -o out"),
        BadInput(64, "dataset folder --model shapes --bucket-step 8 -o out"),
        BadInput(64, "dataset folder --model shapes --resolution 0 -o out"),
        BadInput(64, "dataset --synthesize config.json --model shapes --workers 2 -o out"),
        BadInput(64, "dataset --synthesize config.json --model shapes --count 0 -o out"),
        BadInput(66, "dataset gone --model shapes -o out"),
        BadInput(66, "dataset folder --model shapes -o out"),
        BadInput(65, "dataset folder --model model.h5 -o out"),
        BadInput(65, "dataset noise --model shapes -o out"),
        BadInput(65, "dataset --synthesize empty --model shapes -o out"),
        BadInput(64, "distill -o out"),
        BadInput(65, "distill --stage 1 --student model.h5 --model model.h5 --recipe recipe.json -o out"),
        BadInput(64, "distill --stage 2 --student s.h5 --model model.h5 -o out"),
        BadInput(64, "distill --stage 2 --init min-max -o out"),
        BadInput(64, "distill --stage 2 --grid lsq -o out"),
        BadInput(64, "distill --stage 1 --init kmeans -o out"),
        BadInput(64, "distill --stage 2 --recipe recipe.json -o out"),
        BadInput(64, "distill --stage 2 --teacher-dtype bfloat16 -o out"),
        BadInput(64, "distill --stage 1 --teacher-dtype float16 -o out"),
        BadInput(65, "distill --stage 1 --model model.h5 --recipe unknown.json -o out"),
        BadInput(64, "distill --stage 1 --batch-size 0 -o out"),
        BadInput(64, "distill --stage 1 --learning-rate -1 -o out"),
        BadInput(64, "distill --stage 1 --learning-rate nan -o out"),
        BadInput(64, "distill --stage 1 --validate-every 0 -o out"),
        BadInput(64, "distill --stage 1 --validation-size -2 -o out"),
        BadInput(64, "distill --stage 1 --preview-every 5 -o out"),
        BadInput(64, "distill --stage 1 --preview-prompts prompts.txt -o out"),
        BadInput(64, "distill --stage 1 --preview-every 5 --preview-steps 0 --logging-dir out -o out"),
        BadInput(64, "distill --stage 1 --dry-run --overwrite -o out"),
        BadInput(64, "distill --stage 1 --dry-run --print-config -o out"),
        BadInput(65, "pack model.h5 -o out"),
    ]
    private static let files: [BadInput] = [
        BadInput(65, "info empty"),
        BadInput(65, "info noise"),
        BadInput(65, "info cut.h5"),
        BadInput(66, "info gone.h5"),
        BadInput(65, "info huge.json"),
        BadInput(65, "info package.json"),
        BadInput(64, "info model.h5 --no-vae-encoder"),
        BadInput(65, "info model.h5 --recipe unknown.json"),
        BadInput(65, "info model.h5 --recipe twice.json"),
        BadInput(65, "info model.h5 --recipe named.json"),
        BadInput(65, "init --config broken.json -o out"),
        BadInput(66, "init --config gone.json -o out"),
        BadInput(73, "init --config config.json -o gone/out"),
        BadInput(64, "init --config config.json --seed -1 -o out"),
        BadInput(64, "init --config config.json -o .h5"),
        BadInput(64, "init --config config.json --threads 0 -o out"),
        BadInput(66, "import gone -o out"),
        BadInput(66, "import . -o out"),
        BadInput(64, "import model.h5 --lora noise=abc -o out"),
        BadInput(65, "import model.h5 -o out"),
        BadInput(65, "import noise -o out"),
        BadInput(65, "import image.jpg -o out"),
        BadInput(65, "export nan.h5 -o out"),
        BadInput(73, "export model.h5 -o gone/out"),
        BadInput(73, "export model.h5 -o empty"),
        BadInput(64, "export model.h5 -o ."),
        BadInput(64, "export model.h5 --component vae -o out"),
        BadInput(65, "allocate recipe.json -o out"),
        BadInput(66, "allocate -o out"),
        BadInput(64, "allocate --avg-bits 2 --size 1MB -o out"),
        BadInput(64, "allocate --size 12parsecs -o out"),
        BadInput(64, "allocate --eta 0.1 -o out"),
        BadInput(64, "allocate --max-bits 9 -o out"),
        BadInput(64, "allocate --method entropy --encoding fixed -o out"),
        BadInput(64, "allocate --method entropy --format list -o out"),
        BadInput(64, "allocate --pin to_k -o out"),
        BadInput(64, "allocate --curve out.svg -o out"),
        BadInput(64, "allocate --curve out -o out"),
        BadInput(64, "allocate --verify-top 0 -o out"),
        BadInput(64, "allocate --model model.h5 -o out"),
    ]
    private static let runs: [BadInput] = [
        BadInput(65, "predict model.h5 --inputs shape.safetensors -o out"),
        BadInput(65, "predict model.h5 --inputs nan.safetensors -o out"),
        BadInput(64, "predict model.h5 --inputs in.safetensors -o in.safetensors"),
        BadInput(65, "predict model.h5 --inputs none.safetensors -o out"),
        BadInput(65, "predict model.h5 --inputs noise -o out"),
        BadInput(73, "predict model.h5 --inputs in.safetensors -o gone/out"),
        BadInput(65, "predict nan.h5 --inputs in.safetensors -o out"),
        BadInput(64, "sample model.h5 --prompt circle -o out"),
        BadInput(64, "sample model.h5 -o out"),
        BadInput(65, "sample model.h5 --embeddings none.safetensors -o out"),
        BadInput(64, "sample model.h5 --embeddings e.safetensors --steps 0 -o out"),
        BadInput(64, "sample model.h5 --embeddings e.safetensors --sampler plms -o out"),
        BadInput(73, "sample model.h5 --embeddings e.safetensors -o gone/out"),
        BadInput(64, "sample model.h5 --embeddings e.safetensors -o .png"),
        BadInput(64, "sample model.h5 --embeddings e.safetensors --steps 1000 -o out"),
        BadInput(64, "sample model.h5 --embeddings e.safetensors --vae-tiling -o out"),
        BadInput(64, "sample model.h5 --embeddings e.safetensors --rows 2 --count 3 -o out"),
        BadInput(65, "sample model.h5 --embeddings e.safetensors --init-image folder -o out"),
        BadInput(65, "sample model.h5 --embeddings e.safetensors --init-image noise -o out"),
        BadInput(65, "sample model.h5 --embeddings e.safetensors --init-image image.jpg -o out"),
        BadInput(65, "sample model.h5 --embeddings e.safetensors --latents folder -o out"),
        BadInput(65, "sample model.h5 --embeddings e.safetensors --latents /dev/null -o out"),
        BadInput(65, "sample model.h5 --embeddings e.safetensors --latents noise -o out"),
        BadInput(65, "sample model.h5 --embeddings e.safetensors --latents nan.safetensors -o out"),
        BadInput(65, "sample model.h5 --embeddings e.safetensors --latents shape.safetensors -o out"),
        BadInput(65, "sample model.h5 --embeddings nan.safetensors -o out"),
        BadInput(65, "sample model.h5 --prompts image.jpg -o out"),
        BadInput(65, "sample model.h5 --prompts folder -o out"),
        BadInput(64, "sample model.h5 --promt circle -o out"),
        BadInput(64, "sample model.h5 --prompt circle --steps 0 --guidance 2 -o out"),
        BadInput(64, "allocate --budget 2 -o out"),
        BadInput(64, "allocate --avg-bit 2 -o out"),
        BadInput(64, "predict -x"),
        BadInput(64, "--loud"),
        BadInput(64, "help sing"),
        BadInput(64, "sing"),
        BadInput(64, "info"),
        BadInput(64, "info model.h5 --loud"),
    ]
    private static let all = packing + files + runs
    private static let errors = ErrorSnapshot("errors", commands: all.map(\.command))

    @Test("end in the recorded line with the status of their category, and leave no file", .slow, arguments: all)
    func endsInOneLine(input: BadInput) throws {
        let folder = try TemporaryFolder()
        try prepare(folder, for: input)
        let before = folder.names
        let run = try folder.run(input.arguments)
        #expect(run.status == input.status)
        #expect(run.errorLines.count == 1)
        #expect(run.errors.hasPrefix("bitsfusion"))
        // HDF5 names the size of the file, which depends on the length of the temporary path in its manifest.
        let line = (run.errorLines.first ?? "").replacing(folder.path, with: "FOLDER")
            .replacing(/eof = [0-9]+/, with: "eof = SIZE")
        try Self.errors.expect(input.command, status: run.status, line: line)
        #expect(run.output.isEmpty)
        #expect(folder.names == before)
    }

    @Test("the recorded lines are those of the command lines above", .disabled(if: Snapshot.isRecording))
    func noObsoleteLines() {
        #expect(Self.errors.obsolete.isEmpty)
    }

    @Test("the error for timesteps that a packed model does not cache lists the cached ones")
    func uncachedSteps() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try folder.makeEmbeddings()
        let packed = try folder.run("quantize", "model.h5", "--cached-steps", "4", "-o", "packed.h5")
        #expect(packed.status == 0, "\(packed.errors)")
        let run = try folder.run(
            "sample", "packed.h5", "--embeddings", "e.safetensors", "--steps", "5", "-o", "x.png")
        #expect(run.status == 65)
        #expect(run.errors.contains("4 timesteps [1, 251, 501, 751]"), "\(run.errors)")
        #expect(run.errors.contains("sample with a number of steps among 1, 2, 4, or pack"), "\(run.errors)")
        #expect(!folder.names.contains("x.png"))
    }

    @Test("errors of the scheduler config name the file of the model, for every command that reads the config")
    func schedulerConfig() throws {
        let folder = try TemporaryFolder()
        let pipeline = try TinyModel.pipeline(schedulerJSON: #"{"_class_name": "DDIMScheduler", "beta_start": -1}"#)
        try pipeline.writeModel(to: folder.file("m.h5"), manifest: TinyModel.manifest)
        try TinyModel.recipe(2).write(to: folder.url("recipe.json"))
        try folder.write("prompts.txt", "a red circle")
        for command in [
            "sample m.h5 --prompts prompts.txt -o out", "sample m.h5 --prompts prompts.txt --sampler euler -o out",
            "analyze m.h5 -o out", "quantize m.h5 -o out", "distill --stage 1 --model m.h5 -o out",
        ] {
            let run = try folder.run(command.split(separator: " ").map(String.init))
            #expect(run.status == 65, "\(command)")
            #expect(run.errors.contains(": m.h5: scheduler_config.json: config key beta_start"), "\(run.errors)")
            #expect(folder.names == ["m.h5", "prompts.txt", "recipe.json"])
        }
    }

    @Test("an output that another run writes is refused")
    func lockedOutput() throws {
        let folder = try TemporaryFolder()
        try folder.write("config.json", TinyModel.latentJSON)
        let lock = try OutputLock(folder.file("out"))
        let run = try folder.run("init", "--config", "config.json", "-o", "out")
        withExtendedLifetime(lock) {}
        #expect(run.status == 73)
        #expect(run.errorLines.count == 1 && run.errors.contains("out: another run is writing to it"))
        #expect(folder.names == ["config.json", "out.lock"])
    }

    /// Makes the files that the command line names.
    private func prepare(_ folder: TemporaryFolder, for input: BadInput) throws {
        let names = Set(input.arguments)
        let needsModel = names.contains { ["model.h5", "nan.h5", "cut.h5"].contains($0) }
        if needsModel { try folder.makeModel() } else { try folder.write("config.json", TinyModel.latentJSON) }
        let recipe = try? folder.data("recipe.json")
        if names.contains("in.safetensors") { try folder.makeInputs() }
        if names.contains("e.safetensors") { try folder.makeEmbeddings() }
        try folder.write("empty", "")
        try FileManager.default.createDirectory(
            atPath: folder.file("folder"), withIntermediateDirectories: true)
        try folder.write(
            "steps.json",
            "{\"format\": \"bitsfusion-recipe\", \"version\": 2, \"cachedSteps\": -1, \"layers\": {\"conv_in\": 8}}")
        try folder.write("twice.json", "{\"layers\": {\"conv_in\": 8, \"conv_in\": 2}}")
        try folder.write(
            "named.json",
            "{\"format\": \"bitsfusion-recipe\", \"version\": 2, \"layers\": {\"nope\": 3}, "
                + "\"model\": {\"path\": \"sd15.h5\", \"sha256\": \"00\"}}")
        try folder.write("noise", String(repeating: "noise ", count: 100))
        try folder.write("image.jpg", [0xFF, 0xD8, 0xFF, 0xE0, 0x00, 0x10])
        try folder.write("package.json", "{\"name\": \"x\", \"version\": \"1.0.0\"}")
        try folder.write("broken.json", "{\"in_channels\": 4.5}")
        try folder.write("huge.json", "{\"block_out_channels\": [1e15, 1, 1, 1]}")
        if !needsModel { try folder.write("recipe.json", "{\"layers\": {\"conv_in\": 8}}") }
        if let recipe {
            let text = String(decoding: recipe, as: UTF8.self)
            try folder.write("unknown.json", text.replacing("\"conv_in\" :", with: "\"nope\" : 3, \"conv_in\" :"))
            try folder.write("wide.json", text.replacing("\"conv_in\" : 8", with: "\"conv_in\" : 9"))
        }
        if names.contains("nan.h5") { try makeModelWithNaN(folder) }
        if names.contains("cut.h5") {
            let whole = try folder.data("model.h5")
            try whole.prefix(whole.count / 2).write(to: folder.url("cut.h5"))
        }
        // Inputs of `predict`, and as latents and embeddings those of `sample`.
        let forPrediction = names.contains("predict")
        try folder.write(
            forPrediction
                ? ["sample": .zeros([1, 3, 4, 4]), "timestep": .zeros([1])] : ["latents": .zeros([1, 3, 4, 4])],
            to: "shape.safetensors")
        try folder.write(
            forPrediction
                ? ["sample": .full([1, 4, 4, 4], .nan), "timestep": .zeros([1])]
                : ["latents": .full([1, 4, 4, 4], .nan), "encoder_hidden_states": .full([1, 3, 6], .infinity)],
            to: "nan.safetensors")
        try folder.write(["timestep": .zeros([1])], to: "none.safetensors")
    }

    /// Writes nan.h5: model.h5 with one NaN.
    private func makeModelWithNaN(_ folder: TemporaryFolder) throws {
        let reader = try CheckpointReader(folder.file("model.h5"))
        let writer = try CheckpointWriter(folder.file("nan.h5"), header: reader.header)
        for key in reader.parameters.keys {
            let value = try reader.parameters.tensor(key)
            if key == "conv_in.weight" { value.withUnsafeMutableBufferPointer { $0[0] = .nan } }
            try writer.write(key, value)
        }
        try writer.finish()
    }
}
