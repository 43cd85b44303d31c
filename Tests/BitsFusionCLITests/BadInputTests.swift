// SPDX-License-Identifier: Apache-2.0
// Every wrong input ends in one line that names the folder, with the right exit status, and leaves no file behind.

import BitsFusion
import Foundation
import TestKit
import Testing

/// One faulty command line and how it must end.
struct BadInput: Sendable, CustomTestStringConvertible {
    let arguments: [String]
    let status: Int32
    /// What the line must say.
    let text: String

    init(_ arguments: String, _ status: Int32, _ text: String) {
        self.arguments = arguments.split(separator: " ").map(String.init)
        self.status = status
        self.text = text
    }

    var testDescription: String { arguments.joined(separator: " ") }
}

@Suite("Wrong inputs")
struct BadInputTests {
    private static let packing: [BadInput] = [
        BadInput(
            "quantize model.h5 --recipe unknown.json -o out", 65,
            "unknown.json: nope: unknown layer"),
        BadInput(
            "quantize model.h5 --recipe wide.json -o out", 65,
            "conv_in: nominal bits: expected 1...8, found 9"),
        BadInput("quantize model.h5 --recipe empty -o out", 65, "empty: malformed"),
        BadInput("quantize model.h5 --recipe gone.json -o out", 66, "gone.json: no such file"),
        BadInput(
            "quantize nan.h5 --recipe recipe.json -o out", 65, "conv_in.weight holds 1 values that are NaN"),
        BadInput("quantize model.h5 --recipe recipe.json -o gone/out", 73, "gone/out: cannot be created"),
        BadInput("quantize model.h5 --recipe recipe.json -o .", 73, ".: cannot be created"),
        BadInput(
            "quantize model.h5 --cached-steps -3 -o out", 64, "--cached-steps: expected 0 to 1000, found -3"),
        BadInput(
            "quantize model.h5 --recipe folder -o out", 65, "folder: malformed: expected a JSON document"),
        BadInput(
            "quantize model.h5 --recipe steps.json -o out", 65,
            "steps.json: cachedSteps: malformed: expected 0"),
        BadInput(
            "quantize model.h5 --recipe recipe.json -o recipe.json", 64, "recipe.json: is also an input"),
        BadInput("quantize model.h5 --recipe recipe.json -o model.h5", 64, "model.h5: is also an input"),
        BadInput("analyze model.h5 --embeddings e.safetensors -o .", 73, ".: cannot be created"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --shard 9/8 -o out", 64, "'9/8' is invalid"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --shard 2/2 --layers ^conv_in$ -o out", 64,
            "shard 2/2: there are only 1 layers"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --measure latents -o out", 64,
            "'latents' is invalid"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --images 3 -o out", 64,
            "images: 3 requested; expected at least 1 and at most 2"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --timesteps 0 -o out", 64, "--timesteps: expected 1"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --images 9223372036854775807 -o out", 64,
            "--images: expected 1 to 100000"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --qat-learning-rate 1 -o out", 64,
            "nothing is trained without --qat-steps"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --score fisher --qat-steps 2 -o out", 64,
            "a score is of untrained candidates"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --size 0 -o out", 64, "--size: expected 1 to 1024"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --memory=-1 -o out", 64, "--memory: expected"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --clip e.safetensors -o out", 64, "with --prompts"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --prompts empty -o out", 65, "empty: no prompts"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --prompts gone -o out", 66, "gone: no such file"),
        BadInput(
            "analyze model.h5 --embeddings e.safetensors --prompts config.json -o out", 64,
            "prompts: 1 for 2 embeddings"),
        BadInput("distill --stage 1 --student model.h5 -o out", 64, "--student is for stage 2"),
        BadInput("distill --stage 2 --recipe recipe.json -o out", 64, "--recipe is for stage 1"),
        BadInput("distill --stage 2 --teacher-dtype bfloat16 -o out", 64, "--teacher-dtype is for stage 1"),
        BadInput(
            "distill --stage 1 --teacher-dtype float16 -o out", 64,
            "--teacher-dtype: expected float32 or bfloat16, found float16"),
        BadInput("pack model.h5 -o out", 65, "model.h5: expected a student, found bitsfusion-model"),
    ]
    private static let files: [BadInput] = [
        BadInput("info empty", 65, "empty: expected an HDF5 file, found an empty file"),
        BadInput("info noise", 65, "noise: expected an HDF5 file, found neither HDF5 nor safetensors"),
        BadInput("info cut.h5", 65, "cut.h5: HDF5 could not open"),
        BadInput("info gone.h5", 66, "gone.h5: no such file"),
        BadInput("info huge.json", 65, "huge.json: config key block_out_channels"),
        BadInput("info model.h5 --recipe unknown.json", 65, "unknown.json: nope"),
        BadInput("init --config broken.json -o out", 65, "broken.json"),
        BadInput("init --config gone.json -o out", 66, "gone.json: no such file"),
        BadInput("init --config config.json -o gone/out", 73, "gone/out: cannot be created"),
        BadInput("init --config config.json --seed -1 -o out", 64, "'-1' is invalid for '--seed"),
        BadInput(
            "init --config config.json --threads 0 -o out", 64, "--threads: expected 1 to 1024, found 0"),
        BadInput("import gone -o out", 66, "gone: no such file or folder"),
        BadInput("import . -o out", 66, "no diffusion_pytorch_model.safetensors"),
        BadInput("import model.h5 -o out", 65, "model.h5: expected a diffusers folder"),
        BadInput("export nan.h5 -o out", 65, "conv_in.weight holds 1 values that are NaN"),
        BadInput("export model.h5 -o gone/out", 73, "gone/out: cannot be created"),
        BadInput("export model.h5 -o empty", 73, "empty: cannot be created"),
        BadInput("allocate recipe.json -o out", 65, "expected \"bitsfusion-sensitivity\""),
        BadInput("allocate -o out", 66, "sensitivity.json: no such file"),
        BadInput("allocate --avg-bits 2 --size 1MB -o out", 64, "exclude each other"),
        BadInput("allocate --size 12parsecs -o out", 64, "'12parsecs' is invalid"),
        BadInput("allocate --eta 0.1 -o out", 64, "are for --method threshold"),
        BadInput("allocate --max-bits 9 -o out", 64, "--max-bits: expected 1 to 8"),
        BadInput("allocate --pin to_k -o out", 64, "'to_k' is invalid"),
        BadInput("allocate --curve out.svg -o out", 64, "need names of their own"),
        BadInput("allocate --curve out -o out", 64, "need names of their own"),
        BadInput("allocate --verify-top 0 -o out", 64, "--verify-top: expected 1 to 100"),
        BadInput("allocate --model model.h5 -o out", 64, "--model is for --verify-top"),
    ]
    private static let runs: [BadInput] = [
        BadInput(
            "predict model.h5 --inputs shape.safetensors -o out", 65,
            "sample: expected shape [B, 4, H, W], found [1, 3, 4, 4]"),
        BadInput(
            "predict model.h5 --inputs nan.safetensors -o out", 65,
            "input sample holds 64 values that are NaN"),
        BadInput(
            "predict model.h5 --inputs in.safetensors -o in.safetensors", 64,
            "in.safetensors: is also an input"),
        BadInput("predict model.h5 --inputs none.safetensors -o out", 65, "model input sample: missing"),
        BadInput("predict model.h5 --inputs noise -o out", 65, "noise: header claims"),
        BadInput("predict model.h5 --inputs in.safetensors -o gone/out", 73, "gone/out: cannot be created"),
        BadInput(
            "predict nan.h5 --inputs in.safetensors -o out", 65, "conv_in.weight holds 1 values that are NaN"),
        BadInput("sample model.h5 --prompt circle -o out", 64, "no text encoder; pass --embeddings"),
        BadInput("sample model.h5 -o out", 64, "give either --prompt"),
        BadInput(
            "sample model.h5 --embeddings none.safetensors -o out", 65, "encoder_hidden_states: missing"),
        BadInput("sample model.h5 --embeddings e.safetensors --steps 0 -o out", 64, "0 steps requested"),
        BadInput(
            "sample model.h5 --embeddings e.safetensors --sampler euler -o out", 64, "'euler' is invalid"),
        BadInput("sample model.h5 --embeddings e.safetensors -o gone/out", 73, "gone/out: cannot be created"),
        BadInput("sing", 64, "unknown command 'sing'"),
        BadInput("info", 64, "Missing expected argument '<model>'"),
        BadInput("info model.h5 --loud", 64, "Unknown option '--loud'"),
    ]

    @Test(
        "end in one line with the status for their kind, and leave no file", arguments: packing + files + runs
    )
    func endsInOneLine(input: BadInput) throws {
        let folder = try TemporaryFolder()
        try prepare(folder, for: input)
        let before = folder.names
        let run = try folder.run(input.arguments)
        #expect(run.status == input.status)
        #expect(run.errorLines.count == 1)
        #expect(run.errors.hasPrefix("bitsfusion"))
        #expect(run.errors.contains(input.text), "\(run.errors)")
        #expect(run.output.isEmpty)
        #expect(folder.names == before)
    }

    @Test("a packed model asked for timesteps that it does not cache names those that it does")
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
        #expect(!folder.names.contains("x.png"))
    }

    /// Makes the files that the command line names, and no others.
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
            "{\"format\": \"bitsfusion-recipe\", \"version\": 1, \"cachedSteps\": -1, \"layers\": {\"conv_in\": 8}}")
        try folder.write("noise", String(repeating: "noise ", count: 100))
        try folder.write("broken.json", "{\"in_channels\": 4.5}")
        try folder.write("huge.json", "{\"block_out_channels\": [1e15, 1, 1, 1]}")
        if !needsModel { try folder.write("recipe.json", "{\"layers\": {\"conv_in\": 8}}") }
        if let recipe {
            let text = String(decoding: recipe, as: UTF8.self)
            try folder.write("unknown.json", text.replacing("\"conv_in\" :", with: "\"nope\" : 3, \"conv_in\" :"))
            try folder.write("wide.json", text.replacing("\"conv_in\" : 8", with: "\"conv_in\" : 9"))
        }
        if names.contains("nan.h5") { try makeDamagedModel(folder) }
        if names.contains("cut.h5") {
            let whole = try folder.data("model.h5")
            try whole.prefix(whole.count / 2).write(to: folder.url("cut.h5"))
        }
        try folder.write(["sample": .zeros([1, 3, 4, 4]), "timestep": .zeros([1])], to: "shape.safetensors")
        try folder.write(
            ["sample": .full([1, 4, 4, 4], .nan), "timestep": .zeros([1])], to: "nan.safetensors")
        try folder.write(["timestep": .zeros([1])], to: "none.safetensors")
    }

    /// model.h5 with one weight that is not a number.
    private func makeDamagedModel(_ folder: TemporaryFolder) throws {
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
