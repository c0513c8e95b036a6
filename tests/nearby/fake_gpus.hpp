// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "nearby/gpus.hpp"
#include "support/fake_cuda.hpp"
