// swift-tools-version: 6.1
import PackageDescription

// Debian and Ubuntu name the serial HDF5 build `hdf5-serial`; Homebrew, Fedora and Arch name it `hdf5`.
#if os(Linux)
    let hdf5PackageConfig = Context.environment["BITSFUSION_HDF5_PC"] ?? "hdf5-serial"
#else
    let hdf5PackageConfig = Context.environment["BITSFUSION_HDF5_PC"] ?? "hdf5"
#endif

// Kernels are slow without optimisation even in debug builds; versioned dependants, which SwiftPM forbids
// unsafe flags, set BITSFUSION_NO_UNSAFE_FLAGS=1.
let kernelFlags: [CSetting] =
    Context.environment["BITSFUSION_NO_UNSAFE_FLAGS"] == nil
    ? [.unsafeFlags(["-O3", "-fno-math-errno"])] : []

let package = Package(
    name: "bitsfusion",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "BitsFusion", targets: ["BitsFusion"]),
        .executable(name: "bitsfusion", targets: ["BitsFusionCLI"]),
        .executable(name: "bitsfusion-bench", targets: ["BitsFusionBench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // Levels as in Docs/Architecture.md, whose table `make test` holds imports against.
        // Level 0
        .systemLibrary(
            name: "COpenBLAS", pkgConfig: "openblas",
            providers: [.apt(["libopenblas-dev"]), .brew(["openblas"])]),
        .systemLibrary(
            name: "CHDF5", pkgConfig: hdf5PackageConfig, providers: [.apt(["libhdf5-dev"]), .brew(["hdf5"])]),
        .systemLibrary(
            name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"]), .brew(["libpng"])]),
        .systemLibrary(
            name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"]), .brew(["openssl@3"])]),
        .target(name: "CKernels", cSettings: kernelFlags),
        .target(name: "Recipes"),

        // Level 1
        .target(name: "Tensors", dependencies: ["COpenBLAS", "CKernels"]),
        .target(name: "Packing"),
        .target(name: "BitAllocator", dependencies: ["Recipes"]),

        // Level 2
        .target(name: "Layers", dependencies: ["Tensors"]),
        .target(name: "Quantization", dependencies: ["CKernels", "Tensors", "Packing", "Recipes"]),

        // Level 3
        .target(name: "Diffusion", dependencies: ["Layers", "Tensors"]),
        .target(
            name: "Checkpoints",
            dependencies: [
                "CHDF5", "CCrypto", "CKernels", "Layers", "Quantization", "Packing", "Recipes", "Tensors",
            ]),

        // Level 4
        .target(
            name: "Shapes", dependencies: ["Diffusion", "Checkpoints", "Layers", "Tensors", "CPNG"],
            resources: [.copy("Resources/clip-proxy.h5"), .copy("Resources/teacher.h5")]),

        // Level 5
        .target(
            name: "Pipelines",
            dependencies: [
                "Shapes", "Diffusion", "Checkpoints", "Quantization", "Layers", "Packing", "Recipes",
                "Tensors",
            ]),

        // Level 6
        .target(
            name: "Evaluation",
            dependencies: ["Pipelines", "Shapes", "Checkpoints", "Diffusion", "Layers", "Recipes", "Tensors"]),

        // Level 7
        .target(
            name: "QAT",
            dependencies: [
                "CKernels", "Pipelines", "Shapes", "Evaluation", "Diffusion", "Checkpoints", "Quantization",
                "Layers",
                "Recipes", "Tensors",
            ]),

        // Level 8
        .target(
            name: "Analyzer",
            dependencies: [
                "QAT", "Pipelines", "Shapes", "Evaluation", "Diffusion", "Checkpoints", "Quantization",
                "Layers",
                "Recipes",
                "Tensors",
            ]),

        // Level 9 and 10
        .target(
            name: "BitsFusion",
            dependencies: [
                "Analyzer", "BitAllocator", "Checkpoints", "Diffusion", "Evaluation", "Layers", "Packing",
                "Pipelines",
                "QAT", "Quantization", "Recipes", "Shapes", "Tensors",
            ]),
        .executableTarget(
            name: "BitsFusionCLI",
            dependencies: [
                "BitsFusion", .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Yams", package: "Yams"),
            ]),

        // Benchmarks
        .target(name: "CBenchmarkSupport", path: "Benchmarks/CBenchmarkSupport", cSettings: kernelFlags),
        .executableTarget(
            name: "BitsFusionBench",
            dependencies: [
                "BitsFusion", "CBenchmarkSupport",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], path: "Benchmarks/BitsFusionBench"),

        // Tests
        .target(name: "TestSupport", dependencies: ["Tensors"], path: "Tests/TestSupport"),
        .target(
            name: "TestModels",
            dependencies: ["Pipelines", "Shapes", "Diffusion", "Layers", "Recipes", "Tensors"],
            path: "Tests/TestModels"),
        .testTarget(name: "ArchitectureTests"),
        .testTarget(
            name: "TensorsTests", dependencies: ["Tensors", "CKernels", "TestSupport"],
            resources: [.copy("Fixtures")]),
        .testTarget(name: "RecipesTests", dependencies: ["Recipes"], resources: [.copy("Fixtures")]),
        .testTarget(name: "BitAllocatorTests", dependencies: ["BitAllocator", "Recipes"]),
        .testTarget(name: "PackingTests", dependencies: ["Packing", "Recipes", "TestSupport"]),
        .testTarget(
            name: "QuantizationTests",
            dependencies: ["Quantization", "Packing", "Recipes", "Tensors", "TestSupport"],
            resources: [.copy("Fixtures")]),
        .testTarget(
            name: "DiffusionTests",
            dependencies: ["Diffusion", "Checkpoints", "Layers", "Tensors", "TestSupport"],
            resources: [.copy("Fixtures")]),
        .testTarget(
            name: "CheckpointsTests",
            dependencies: [
                "Checkpoints", "Quantization", "Packing", "Recipes", "Layers", "Tensors", "TestSupport",
            ]),
        .testTarget(name: "ShapesTests", dependencies: ["Shapes", "Evaluation", "Tensors", "TestSupport"]),
        .testTarget(
            name: "EvaluationTests",
            dependencies: [
                "Evaluation", "Checkpoints", "Diffusion", "Layers", "Recipes", "Tensors", "TestSupport",
            ],
            resources: [.copy("Fixtures")]),
        .testTarget(
            name: "AnalyzerTests",
            dependencies: [
                "Analyzer", "BitAllocator", "Checkpoints", "Diffusion", "Evaluation", "Layers", "Pipelines",
                "Quantization", "Recipes", "Shapes", "Tensors",
            ]),
        .testTarget(
            name: "QATTests",
            dependencies: [
                "QAT", "Analyzer", "Checkpoints", "Diffusion", "Evaluation", "Layers", "Quantization",
                "Recipes",
                "Pipelines", "Shapes", "Tensors", "TestModels", "TestSupport",
            ],
            resources: [.copy("Fixtures")]),
        .testTarget(
            name: "PipelinesTests",
            dependencies: [
                "Pipelines", "Checkpoints", "Diffusion", "Layers", "Packing", "Quantization", "QAT",
                "Recipes",
                "Shapes", "Tensors", "TestModels", "TestSupport",
            ]),
        .testTarget(
            name: "BitsFusionCLITests",
            dependencies: [
                "BitsFusionCLI", "BitsFusion",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ]),
        .testTarget(name: "BitsFusionBenchTests", dependencies: ["BitsFusionBench", "BitsFusion"]),
    ]
)
