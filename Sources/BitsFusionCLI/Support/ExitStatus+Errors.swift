// SPDX-License-Identifier: Apache-2.0
// The exit status of every error that the library throws. An error type that is not listed here ends the program as an
// internal error, so a new one needs one line.

import BitsFusion

extension CheckpointError: ExitStatusProviding {
    var exitStatus: ExitStatus {
        switch category {
        case .inputMissing: .inputMissing
        case .badData: .badData
        case .cannotCreate: .cannotCreate
        case .inputOutput: .inputOutput
        }
    }
}

extension RecipeError: ExitStatusProviding {
    var exitStatus: ExitStatus {
        switch self {
        case .fileMissing: .inputMissing
        case .unwritable: .cannotCreate
        case .unreadable: .inputOutput
        case .inFile(_, let error): error.exitStatus
        default: .badData
        }
    }
}

extension AllocationError: ExitStatusProviding {
    var exitStatus: ExitStatus {
        switch self {
        case .invalidBudget, .invalidSteps, .invalidEta, .pattern, .pinnedNothing, .psnrNeedsPictures: .usage
        case .infeasible, .infeasibleSize, .infeasiblePSNR, .sizeWithoutInventory, .unmeasuredLayer,
            .missingDamage, .damagesTooLarge, .table:
            .badData
        }
    }
}

extension SensitivityError: ExitStatusProviding {
    var exitStatus: ExitStatus {
        switch self {
        case .noLayers, .pattern, .emptyShard, .pictures, .prompts, .clipNeedsPictures: .usage
        case .alreadyQuantized, .referenceNotFinite, .embeddingsChanged, .generation, .sampler, .differentRun,
            .journalLine:
            .badData
        case .unfinished, .inUse, .journalFile(_, _, .opening): .cannotCreate
        case .journalFile: .inputOutput
        }
    }
}

extension SamplerError: ExitStatusProviding {
    var exitStatus: ExitStatus {
        switch self {
        case .steps: .usage
        // Options of the scheduler config that came with the model.
        case .timestepBeyondSchedule, .unsupported: .badData
        }
    }
}

extension CaptionError: ExitStatusProviding {
    var exitStatus: ExitStatus { .usage }
}

extension PipelineError: ExitStatusProviding {
    var exitStatus: ExitStatus {
        switch self {
        case .noTextEncoder: .usage
        case .embeddingShape, .vocabulary, .furtherConditions, .notQuantized, .textLength, .contextWidth:
            .badData
        }
    }
}

extension ConfigError: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension ParameterError: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension PackedLayerFault: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension PackingError: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension TimeFeatureError: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension UNetInputError: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension TeacherRecipeError: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension TrainingStateError: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension TrainingError: ExitStatusProviding {
    var exitStatus: ExitStatus { .badData }
}

extension ShippedModelError: ExitStatusProviding {
    var exitStatus: ExitStatus { .inputMissing }
}

extension PNGError: ExitStatusProviding {
    var exitStatus: ExitStatus { .internalError }
}
