// SPDX-License-Identifier: Apache-2.0
// Library types that stand on the command line by their raw values.

import ArgumentParser
import BitsFusion

extension SamplerKind: ExpressibleByArgument {}
extension ElementType: ExpressibleByArgument {}
extension PackingEncoding: ExpressibleByArgument {}
