# `cpack` in a build folder makes a Debian package. Everything that is not in the program itself is in this folder.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libresil)
set(CPACK_PACKAGE_CONTACT "The libresil authors <maintainers@libresil.invalid>" CACHE STRING "Who maintains the package")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "resilience for programs as they are")
set(CPACK_PACKAGE_DESCRIPTION
"A preloaded library that stands between an unmodified program and the socket
calls of libc, and gives them what a rule file says: timeouts, retries with
backoff and jitter, and circuit breakers that all processes of a user share.
No proxy, no rebuild, no changed address.

The command resil runs programs with it, checks and explains rules, and shows
and steers what goes on; misbehave is a server that fails on purpose.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES TRUE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Nothing links against it, so there is no version of an interface to depend on.
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS OFF)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${CMAKE_CURRENT_LIST_DIR}/prerm ${CMAKE_CURRENT_LIST_DIR}/postrm ${CMAKE_CURRENT_LIST_DIR}/triggers)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION TRUE)
set(CPACK_INSTALLED_DIRECTORIES ${CMAKE_CURRENT_LIST_DIR}/lintian usr/share/lintian/overrides)
include(CPack)

set(PACKED_CHANGES ${CMAKE_BINARY_DIR}/generated/changelog.gz)
add_custom_command(OUTPUT ${PACKED_CHANGES} COMMAND ${GZIP} -9nc ${CMAKE_CURRENT_LIST_DIR}/changelog > ${PACKED_CHANGES}
  DEPENDS package/changelog)
add_custom_target(changes ALL DEPENDS ${PACKED_CHANGES})
install(FILES package/copyright ${PACKED_CHANGES} DESTINATION ${CMAKE_INSTALL_DOCDIR})
