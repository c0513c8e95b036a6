// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <wye/agent.hpp>
#include <wye/bucket.hpp>
#include <wye/checksum.hpp>
#include <wye/copy.hpp>
#include <wye/directory.hpp>
#include <wye/drivers.hpp>
#include <wye/error.hpp>
#include <wye/fabric.hpp>
#include <wye/file.hpp>
#include <wye/flight.hpp>
#include <wye/join.hpp>
#include <wye/memory.hpp>
#include <wye/metrics.hpp>
#include <wye/peer.hpp>
#include <wye/pool.hpp>
#include <wye/prepared.hpp>
#include <wye/progress.hpp>
#include <wye/region.hpp>
#include <wye/runtime.hpp>
#include <wye/s3.hpp>
#include <wye/segment.hpp>
#include <wye/side_channel.hpp>
#include <wye/task.hpp>
#include <wye/units.hpp>
