# Writes the text of INPUT into the C file OUTPUT, as bytes.
file(READ ${INPUT} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"rules/builtin.h\"\n\nconst unsigned char builtin_rules[] = {${bytes}0};\nconst unsigned long builtin_rules_size = ${size};\n")
