// SPDX-License-Identifier: Apache-2.0
// Errors of the file system.

import Foundation

/// A file or folder that cannot be read or written.
public enum FileError: Error, Equatable, Sendable {
    /// There is no file or folder at `path`.
    case missingFile(path: String)
    /// The file or folder at `path` cannot be read; `code` is the errno.
    case unreadable(path: String, code: Int32)
    /// The file or folder at `path` cannot be created, for example because its folder is missing or not writable, or
    /// because another kind of file exists at `path`; `code` is the errno.
    case cannotCreate(path: String, code: Int32)
    /// Writing failed, for example because the disk is full; `code` is the errno. A file that existed at `path` before
    /// (`hadFile`) is unchanged.
    case writeFailed(path: String, code: Int32, hadFile: Bool)
    /// Appending to a log failed.
    case appendFailed(path: String, code: Int32)
    /// Another run has the file as its output.
    case inUse(path: String)
    /// The file at `path` has the name of a lock file, but is not one.
    case notALock(path: String)
    /// Writing to a stream, such as standard output, failed; `code` is the errno.
    case streamFailed(name: String, code: Int32)
    /// The file is of another kind than expected.
    case wrongKind(path: String, expected: FileKind, found: FileKind)
}

/// The kind of a file, determined from its first bytes.
public enum FileKind: String, Equatable, Sendable {
    case hdf5 = "an HDF5 file"
    case safetensors = "a safetensors file"
    case zip = "a zip archive (a PyTorch .bin or .ckpt)"
    case pickle = "a pickle (a PyTorch .bin, .ckpt, .pt or .pth)"
    case html = "an HTML or XML page"
    case lfsPointer = "a Git LFS pointer"
    case gguf = "a GGUF file"
    case json = "a JSON document"
    case text = "a text file in UTF-8"
    case png = "a PNG image"
    case jpeg = "a JPEG image"
    case webp = "a WebP image"
    case gif = "a GIF image"
    case bmp = "a BMP image"
    case tiff = "a TIFF image"
    case heif = "an AVIF or HEIF image"
    case empty = "an empty file"
    case folder = "a folder"
    case special = "a device or pipe"
    case unknown = "a file of unknown format"
    /// Expected where images are read.
    case image = "a PNG, JPEG or WebP image"
    /// Expected where any file is read.
    case any = "a file"
    case diffusersFolder = "a diffusers folder (config.json and *.safetensors, or a pipeline with unet/)"
}

extension FileError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .missingFile: .inputMissing
        case .wrongKind: .badData
        case .cannotCreate, .inUse, .notALock: .cannotCreate
        case .unreadable, .writeFailed, .appendFailed, .streamFailed: .inputOutput
        }
    }

    public var description: String {
        switch self {
        case .missingFile(let path):
            "\(path): no such file or folder; check the path"
        case .unreadable(let path, let code):
            "\(path): cannot be read (\(Self.reason(code)))"
        case .cannotCreate(let path, let code):
            "\(path): cannot be created (\(Self.reason(code))); choose a path that you can write to"
        case .inUse(let path):
            "\(path): another run is writing to it; wait for its end, or choose another output"
        case .notALock(let path):
            "\(path): expected an empty lock file or none, found another file; rename it, or choose another output"
        case .streamFailed(let name, let code):
            "\(name): writing failed (\(Self.reason(code))); the text is incomplete, files that were written are not"
        case .writeFailed(let path, let code, let hadFile):
            "\(path): writing failed (\(Self.reason(code))); "
                + (hadFile ? "the previous file is unchanged" : "no file was written")
        case .appendFailed(let path, let code):
            "\(path): writing failed (\(Self.reason(code))); the log is incomplete"
        case .wrongKind(let path, let expected, let found):
            "\(path): expected \(expected.rawValue), found \(found.rawValue)\(Self.advice(path, expected, found))"
        }
    }

    /// The error for the errno `code` of opening or reading the file at `path`.
    package static func readFailure(_ path: String, _ code: Int32) -> FileError {
        code == ENOENT || code == ENOTDIR ? .missingFile(path: path) : .unreadable(path: path, code: code)
    }

    /// The error for the errno `code` of writing the file that `path` will be. Unfinished files have another name, so
    /// that a file at `path` is the previous one.
    package static func writeFailure(_ path: String, _ code: Int32) -> FileError {
        .writeFailed(path: path, code: code, hadFile: access(path, F_OK) == 0)
    }

    private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }

    /// How to get safetensors files instead of pickles, which run code when they are loaded.
    package static func pickleAdvice(_ path: String, _ target: String) -> String {
        let program =
            "import sys, torch; from safetensors.torch import save_file; "
            + "d = torch.load(sys.argv[1], 'cpu', weights_only=True); d = d.get('state_dict', d); "
            + "save_file({k: v.clone().contiguous() for k, v in d.items() if torch.is_tensor(v)}, sys.argv[2])"
        return "look for the .safetensors file of the same model, or convert it: "
            + "python3 -c \"\(program)\" \(path) \(target)"
    }

    private static func advice(_ path: String, _ expected: FileKind, _ found: FileKind) -> String {
        switch (expected, found) {
        case (.hdf5, .folder), (.hdf5, .safetensors): "; convert it with `bitsfusion import` first"
        case (_, .zip), (_, .pickle):
            "; "
                + pickleAdvice(path, PathParts(path).sibling(PathParts(path).stem + "-converted.safetensors"))
        case (_, .html): "; the download failed or needs a login; download the file again"
        case (_, .lfsPointer): "; fetch the file itself with `git lfs pull`"
        case (_, .gguf): "; GGUF is not read; look for the .safetensors file of the same model"
        case (_, .empty): "; it was never written completely"
        case (.image, .gif), (.image, .bmp), (.image, .tiff), (.image, .heif): "; convert it to PNG"
        default: ""
        }
    }
}
