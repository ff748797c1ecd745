# Writes the text of INPUT into the C file OUTPUT, as bytes: NAME and NAME_size, which HEADER declares.
file(READ ${INPUT} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUTPUT} "#include \"${HEADER}\"\n\nconst unsigned char ${NAME}[] = {${bytes}0};\nconst unsigned long ${NAME}_size = ${size};\n")
