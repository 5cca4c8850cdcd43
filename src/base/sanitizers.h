/* Which sanitizer a file is built with: what works around the C library is nothing for them. */
#ifndef SL_BASE_SANITIZERS_H
#define SL_BASE_SANITIZERS_H

#ifndef __has_feature /* clang's way to tell, where gcc has __SANITIZE_... */
#define __has_feature(name) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
#define SL_ADDRESS_SANITIZER 1
#else
#define SL_ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define SL_THREAD_SANITIZER 1
#else
#define SL_THREAD_SANITIZER 0
#endif

#endif
