// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdlib.h>

namespace wye::seam {

/// What the environment of the test may say of servers is not for us.
inline void forget_environment()
{
    for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                             "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL",
                             "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE", "AWS_SHARED_CREDENTIALS_FILE",
                             "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"})
        ::unsetenv(name);
}

} // namespace wye::seam
