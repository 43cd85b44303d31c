// swift-tools-version: 6.1
import PackageDescription

// Debian and Ubuntu name the serial HDF5 build `hdf5-serial`; Homebrew, Fedora and Arch name it `hdf5`.
#if os(Linux)
    let hdf5PackageConfig = Context.environment["BITSFUSION_HDF5_PC"] ?? "hdf5-serial"
#else
    let hdf5PackageConfig = Context.environment["BITSFUSION_HDF5_PC"] ?? "hdf5"
#endif

// Kernels are optimized in debug builds too. SwiftPM rejects unsafe flags in dependencies that are specified by
// version; packages that depend on a version set BITSFUSION_NO_UNSAFE_FLAGS=1.
let kernelFlags: [CSetting] =
    Context.environment["BITSFUSION_NO_UNSAFE_FLAGS"] == nil
    ? [.unsafeFlags(["-O3", "-fno-math-errno"])] : []

/// The plugin of `make docs`, which other builds do not download.
let documentationPlugin: [Package.Dependency] =
    Context.environment["BITSFUSION_DOCS"] == nil
    ? [] : [.package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0")]

/// The modules that `import BitsFusion` re-exports.
let library: [Target.Dependency] = [
    "Analyzer", "BitAllocator", "Checkpoints", "Communication", "DataSets", "Evaluation", "Files", "Images", "Layers",
    "Networks", "Optimizers", "Packing", "Pipelines", "QAT", "Quantization", "Recipes", "Schedulers", "Tensors",
    "Tokenizers",
]

let package = Package(
    name: "bitsfusion",
    platforms: [.macOS(.v15)],
    products: [
        .library(name: "BitsFusion", targets: ["BitsFusion"]),
        .library(name: "ShapesWorld", targets: ["ShapesWorld"]),
        .executable(name: "bitsfusion", targets: ["BitsFusionCLI"]),
        .executable(name: "bitsfusion-bench", targets: ["BitsFusionBench"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/swiftcsv/SwiftCSV", from: "0.10.0"),
    ] + documentationPlugin,
    targets: [
        // Wings and levels as in the table of Docs/Architecture.md, which `make test` checks.
        // Level 0
        .systemLibrary(
            name: "COpenBLAS", path: "Sources/System/COpenBLAS", pkgConfig: "openblas",
            providers: [.apt(["libopenblas-dev"]), .brew(["openblas"])]),
        .systemLibrary(
            name: "CHDF5", path: "Sources/System/CHDF5", pkgConfig: hdf5PackageConfig,
            providers: [.apt(["libhdf5-dev"]), .brew(["hdf5"])]),
        .systemLibrary(
            name: "CPNG", path: "Sources/System/CPNG", pkgConfig: "libpng",
            providers: [.apt(["libpng-dev"]), .brew(["libpng"])]),
        .systemLibrary(
            name: "CArchive", path: "Sources/System/CArchive", pkgConfig: "libarchive",
            providers: [.apt(["libarchive-dev"]), .brew(["libarchive"])]),
        .systemLibrary(
            name: "CJPEG", path: "Sources/System/CJPEG", pkgConfig: "libjpeg",
            providers: [.apt(["libjpeg-dev"]), .brew(["jpeg-turbo"])]),
        .systemLibrary(
            name: "CWebP", path: "Sources/System/CWebP", pkgConfig: "libwebpdemux",
            providers: [.apt(["libwebp-dev"]), .brew(["webp"])]),
        .systemLibrary(
            name: "CCrypto", path: "Sources/System/CCrypto", pkgConfig: "libcrypto",
            providers: [.apt(["libssl-dev"]), .brew(["openssl@3"])]),
        .systemLibrary(
            name: "CZlib", path: "Sources/System/CZlib", pkgConfig: "zlib",
            providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),
        .systemLibrary(name: "CFileSystem", path: "Sources/System/CFileSystem"),
        .systemLibrary(name: "CMPIAdapter", path: "Sources/System/CMPIAdapter"),
        .target(name: "CKernels", path: "Sources/Engine/CKernels", cSettings: kernelFlags),

        // Level 1
        .module("Files", in: "Models", ["CCrypto", "CFileSystem", "CZlib"]),
        .module("Tensors", in: "Engine", ["COpenBLAS", "CKernels"]),

        // Level 2
        .module("Communication", in: "Engine", ["CMPIAdapter", "Files"]),
        .module("Recipes", in: "Compression", ["Files"]),
        .module("Packing", in: "Compression", ["Files"]),
        .module("Images", in: "Models", ["CJPEG", "CPNG", "CWebP", "Files"]),
        .module("Layers", in: "Engine", ["Files", "Tensors"]),
        .module("Optimizers", in: "Engine", ["CKernels", "Tensors"]),

        // Level 3
        .module("Quantization", in: "Compression", ["Packing", "Recipes", "Tensors"]),
        .module("BitAllocator", in: "Method", ["Files", "Recipes"]),

        .module("Networks", in: "Models", ["Files", "Layers", "Recipes", "Tensors"]),
        .module("Schedulers", in: "Models", ["Files", "Tensors"]),
        .module(
            "Tokenizers", in: "Models", ["Files"],
            resources: [.copy("Resources/clip-merges.bin"), .copy("Resources/LICENSE-CLIP.txt")]),

        // Level 4
        .module(
            "Checkpoints", in: "Models",
            ["CHDF5", "Files", "Layers", "Packing", "Quantization", "Recipes", "Tensors"]),

        // Level 5
        .module(
            "Pipelines", in: "Models",
            [
                "CFileSystem", "Checkpoints", "Communication", "Files", "Images", "Layers", "Networks", "Packing",
                "Quantization", "Recipes", "Schedulers", "Tensors", "Tokenizers",
            ]),

        // Level 6
        .module(
            "DataSets", in: "Models",
            [
                "CArchive", "Checkpoints", "Communication", "Files", "Images", "Layers", "Networks", "Pipelines",
                "Schedulers", "Tensors", .product(name: "SwiftCSV", package: "SwiftCSV"),
            ]),
        .module("Evaluation", in: "Method", ["Schedulers", "Tensors"]),

        // Level 7
        .module(
            "Analyzer", in: "Method",
            [
                "Checkpoints", "Communication", "DataSets", "Evaluation", "Files", "Images", "Layers", "Networks",
                "Optimizers", "Pipelines", "Quantization", "Recipes", "Schedulers", "Tensors",
            ]),
        .module(
            "QAT", in: "Method",
            [
                "Checkpoints", "Communication", "DataSets", "Files", "Layers", "Networks", "Optimizers", "Pipelines",
                "Quantization",
                "Recipes", "Schedulers", "Tensors",
            ]),

        // Level 8
        .module("BitsFusion", in: "App", library),

        // Level 9
        .module(
            "ShapesWorld", in: "App", ["BitsFusion"],
            resources: [.copy("Resources/clip-proxy.h5"), .copy("Resources/teacher.h5")]),

        // Level 10
        .executableTarget(
            name: "BitsFusionCLI",
            dependencies: [
                "BitsFusion", "ShapesWorld",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Yams", package: "Yams"),
            ], path: "Sources/App/BitsFusionCLI"),

        // Benchmarks
        .target(name: "CBenchmarkSupport", path: "Benchmarks/CBenchmarkSupport", cSettings: kernelFlags),
        .executableTarget(
            name: "BitsFusionBench",
            dependencies: [
                "BitsFusion", "CBenchmarkSupport", "ShapesWorld",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], path: "Benchmarks/BitsFusionBench"),

        // Tests
        .target(name: "TestKit", dependencies: ["BitsFusion", "ShapesWorld"], path: "Tests/TestKit"),
        .testTarget(name: "ArchitectureTests"),
        .tests("Tensors", ["CKernels"], fixtures: true),
        .tests("Recipes", fixtures: true),
        .tests("BitAllocator"),
        .tests("Packing", fixtures: true),
        .tests("Quantization", fixtures: true),
        .tests("Networks", fixtures: true),
        .tests("Schedulers", fixtures: true),
        .tests("Files"),
        .tests("Images", fixtures: true),
        .tests("Tokenizers", fixtures: true),
        .tests("Optimizers", fixtures: true),
        .tests("Communication"),
        .tests("Checkpoints", fixtures: true),
        .tests("Evaluation", fixtures: true),
        .tests("Analyzer"),
        .tests("QAT", fixtures: true),
        .tests("DataSets", fixtures: true),
        .tests("Pipelines", fixtures: true),
        .tests("ShapesWorld"),
        .testTarget(
            name: "BitsFusionCLITests",
            dependencies: [
                "BitsFusionCLI", "BitsFusion", "ShapesWorld", "TestKit",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ], exclude: ["Snapshots"]),
        .testTarget(name: "BitsFusionBenchTests", dependencies: ["BitsFusionBench", "BitsFusion"]),
    ]
)

extension Target {
    /// A Swift target in the folder of its wing.
    static func module(
        _ name: String, in wing: String, _ dependencies: [Dependency] = [], resources: [Resource]? = nil
    ) -> Target {
        .target(name: name, dependencies: dependencies, path: "Sources/\(wing)/\(name)", resources: resources)
    }

    /// The tests of one target, which may import the whole library.
    static func tests(_ name: String, _ dependencies: [Dependency] = [], fixtures: Bool = false) -> Target {
        .testTarget(
            name: name + "Tests", dependencies: ["BitsFusion", "ShapesWorld", "TestKit"] + dependencies,
            resources: fixtures ? [.copy("Fixtures")] : nil)
    }
}
