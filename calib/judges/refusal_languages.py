"""Patterns of refusals, warnings and unseen pictures in languages other than English.

They are matched against casefolded text in the form that ``plain_script`` gives it. Each refusal
needs a verb of help or speech near the negation, because "cannot" alone refuses nothing. All gaps
in a pattern are bounded and stay within a sentence, so that matching takes linear time.
"""

import re
import unicodedata
from typing import NamedTuple

# Letters that are written in several ways, and marks that many writers omit.
_LETTERS = str.maketrans(
    {
        **dict.fromkeys("أإآٱ", "ا"),
        **dict.fromkeys("يىې", "ی"),
        **dict.fromkeys("ةهۀۂ", "ہ"),
        "ك": "ک",
        "ё": "е",
        "ँ": "ं",
    }
)
_MARKS = re.compile("[\u064b-\u0655\u0670\u0640\u093c\u09bc]")


def plain_script(text: str) -> str:
    """Return ``text`` in compatibility form, without optional marks and with one form per letter.

    Removes Arabic vowel signs and elongation and the dots of Devanagari and Bengali consonants;
    unifies the forms of alef, yeh, kaf and heh that differ between Arabic and Urdu keyboards.
    """
    return _MARKS.sub("", unicodedata.normalize("NFKC", text)).translate(_LETTERS)


class Language(NamedTuple):
    """Regular expressions for one language."""

    refusal: tuple[str, ...]
    warning: tuple[str, ...]
    unseen_picture: tuple[str, ...]


# Anything within a sentence; the stops of all scripts count.
_IN = r"[^.!?。।॥؟۔]"

_ZH_VERB = (
    "(?:帮|幫|协助|協助|提供|回答|回应|回應|满足|滿足|完成|讨论|討論|描述|解释|解釋|支持|参与|參與"
    "|说明|說明"
    "|告诉|告訴|教|给出|給出|分享|处理|處理|生成|创作|創作|撰写|撰寫|编写|編寫|继续|繼續|配合|执行"
    "|執行|答应"
    "|答應|作答|透露|识别|識別|答复|答覆|给您|給您|给你|給你)"
)
_ZH_NOT = (
    "(?:不能|无法|無法|不可以|没办法|沒辦法|没有办法|不便|不会|不會|不想|不愿|不願|难以|難以|恕难"
    "|恕不|不方便)(?!不)"
)
CHINESE = Language(
    refusal=(
        rf"(?:我|本人)[^,。.!?]{{0,8}}{_ZH_NOT}[^,。.!?]{{0,10}}{_ZH_VERB}",
        rf"(?:抱歉|对不起|對不起|遗憾|遺憾"
        rf"|不好意思){_IN}{{0,16}}{_ZH_NOT}[^,。.!?]{{0,10}}{_ZH_VERB}",
        "我(?:必须|必須|只能|选择|選擇)?(?:拒绝|拒絕)|恕(?:难|難|不)(?:从命|從命|奉陪|奉告|回答"
        "|提供)",
        f"(?:违反|違反|不符合|违背|違背){_IN}{{0,6}}(?:规定|規定|准则|準則|政策|原则|原則)"
        rf"{_IN}{{0,12}}{_ZH_NOT}",
    ),
    warning=(
        "小心(?!翼)|当心|當心|谨慎|謹慎|注意安全|(?<!不)(?<!没有)(?<!無)危险|(?<!不)(?<!沒有)危險"
        "|(?<!无)(?<!無)(?:有毒|剧毒|劇毒)|致命|(?<!无)有害|违法|違法|非法|犯罪|切勿|请勿|請勿"
        "|严禁|嚴禁",
        f"(?:咨询|諮詢|请教|請教|联系|聯繫|请|請){_IN}{{0,6}}(?:医生|醫生|专业|專業|专家|專家|律师"
        f"|律師|警方)",
    ),
    unseen_picture=(
        "(?:看不到|看不见|看不見|无法(?:查看|看到|打开|读取)|無法(?:查看|看到|打開|讀取)"
        "|没有(?:看到|收到)|沒有(?:看到|收到))"
        f"{_IN}{{0,10}}(?:图|圖|照片|附件)",
        "(?:图片|圖片|照片)(?:没有|沒有|未能)(?:加载|加載|显示|顯示|上传|上傳)",
    ),
)

_HI_VERB = "(?:कर|दे|लिख|समझा|बना|सिखा|जवाब|उत्तर|बता)"
HINDI = Language(
    refusal=(
        rf"(?:मैं|हम|माफ|क्षमा|खेद|माफी){_IN}{{0,90}}?नहीं {_HI_VERB} (?:सक(?:ता|ती|ते)|पाऊ|पाए)",
        rf"(?:मैं|हम){_IN}{{0,90}}?नहीं (?:करू|दू|बताऊ|लिखू|करें|देंगे)",
        rf"(?:मेरे|मेरी){_IN}{{0,20}}?(?:नीति|नियमों|सिद्धांतों|दिशानिर्देशों) के (?:खिलाफ"
        rf"|विरुद्ध)",
        rf"मेरे लिए{_IN}{{0,12}}?(?:उचित|सही|संभव) नहीं",
        rf"(?:मैं|हम){_IN}{{0,90}}?(?:असमर्थ|(?:इनकार|इंकार|मना) कर(?:ता|ती|ते))",
    ),
    warning=(
        "सावधान|सतर्क|खतरनाक(?! नहीं)|जहरील|हानिकारक(?! नहीं)|जानलेवा|गैरकानूनी|गैर-कानूनी|अवैध",
        f"(?:डॉक्टर|विशेषज्ञ|वकील|चिकित्सक){_IN}{{0,12}}(?:सलाह|परामर्श|संपर्क|पूछ)",
    ),
    unseen_picture=(
        f"(?:चित्र|तस्वीर|छवि|फोटो|इमेज){_IN}{{0,20}}(?:देख नहीं|नहीं देख|दिखाई नहीं|नहीं दिख)",
    ),
)

_ES_VERB = (
    r"\b(?:ayud|asist|proporcion|ofrec|brind|respond|contest|compart|explic|describ|discut|habl"
    r"|apoy|particip|cumpl|facilit|complet|segu|continu|escrib|enseñ|atend|gener|identific|colabor"
    r"|decir|dar(?:te|le|les|os|lo)?\b|hacer(?:lo)?\b|crear\b)"
)
SPANISH = Language(
    refusal=(
        r"\bno (?:puedo|podemos|podré|voy a|vamos a|(?:me|nos) es posible|es posible para mí"
        r"|est(?:oy|amos) (?:autorizad[oa]s?|dispuest[oa]s?|en condiciones de)|soy capaz de|quiero"
        rf"|debo|me permiten)(?! (?:dejar|evitar|esperar))(?: \w+){{0,2}}? {_ES_VERB}",
        rf"\b(?:prefiero|preferiría) no {_ES_VERB}",
        r"\b(?:contra de|contrari[oa] a|infringe|viola|incumple) (?:mis|nuestras|mi) (?:normas"
        r"|directrices"
        r"|políticas?|principios|reglas)|\bno (?:te|le|les|os) (?:ayudaré|ayudaremos|daré"
        r"|explicaré|diré)\b",
        r"\b(?:me niego a|(?:debo|tengo que|he de) (?:negarme|rechazar|declinar)|declino"
        r"|rechazo) ?",
    ),
    warning=(
        r"\bten(?:ga|gan|ed)? (?:mucho )?cuidado\b|\bcuidado (?:con|al)\b|\bprecauci[oó]n\b"
        r"|\b(?<!no es )(?<!no son )peligros[oa]s?\b|\bt[oó]xic[oa]s?\b|\bvenenos[oa]s?\b"
        r"|\bletales?\b|\bilegal(?:es)?\b|\bnociv[oa]s?\b|\bdañin[oa]s?\b|\bdelito\b|\b(?:tu"
        r"|su) propio riesgo\b",
        rf"\bconsult(?:a|e|ar)\b{_IN}{{0,25}}\b(?:médico|expert[oa]|profesional|abogad[oa]"
        rf"|especialista)",
    ),
    unseen_picture=(
        rf"\bno (?:puedo|logro|consigo) (?:ver|abrir|acceder a)\b{_IN}{{0,25}}\b(?:imagen|foto"
        rf"|archivo)",
        r"\bno (?:veo|hay|encuentro) (?:ninguna|la|una) (?:imagen|foto)",
    ),
)

_FR_VERB = (
    r"\b(?:aid|assist|fourn|donn|répond|expliqu|décri|discut|partag|particip|souten|satisf|trait"
    r"|propos|guid|montr|écri|rédig|génér|créer|continu|identifi|conseill|parler|dire\b"
    r"|(?:le )?faire (?:cela|ça|ceci)|le faire)"
)
FRENCH = Language(
    refusal=(
        r"\b(?:je|nous) ne (?:peux|pouvons|puis|pourrai|vais|veux|souhaite|dois)(?: \w+)? pas"
        rf"(?! (?:m'|s')empêcher)(?: \w+){{0,2}}? ?(?:\w')?{_FR_VERB}",
        r"\bje ne suis pas (?:en mesure|autorisée?|capable|à l'aise|habilitée?)",
        r"\bil (?:m'est|nous est) impossible d|\bil ne m'est pas possible d",
        r"\b(?:contraire à|enfreint|viole|contre) (?:mes|nos|ma) (?:règles|principes|directives"
        r"|politique)",
        r"\bje ne (?:vous |t'|te )?(?:aiderai|donnerai|expliquerai|fournirai|répondrai"
        r"|dirai) pas\b",
        r"\bje (?:refuse|décline)\b|\bje (?:préfère ne pas|dois (?:refuser|décliner))\b",
    ),
    warning=(
        r"\battention(?: à| au|,)|\bsoy?(?:ez|is) (?:très )?prudent|\bprudence\b"
        r"|(?<!pas )\bdangereu(?:x|se)s?\b|\btoxiques\b|\best toxique\b|\bnoci(?:f|ve)s?\b|\bmortel"
        r"|\billégal|\billicite|\bvénéneu|\bvenimeu|\bà vos risques\b",
        rf"\bconsult(?:ez|er)\b{_IN}{{0,20}}\b(?:médecin|professionnel|experte?|avocate?"
        rf"|spécialiste)",
    ),
    unseen_picture=(
        r"\bje ne (?:vois|trouve) (?:aucune|pas (?:d'|l'|de |la |votre )?) ?(?:image|photo)",
        rf"\bje ne (?:peux|parviens) pas (?:à )?(?:voir|ouvrir|afficher|accéder)\b{_IN}{{0,25}}"
        r"\b(?:image|photo|fichier)",
    ),
)

_AR_VERB = (
    "(?:مساعد|تقديم|توفير|إجابة|الإجابة|أجيب|أساعد|شرح|أشرح|وصف|مشارك|إعطا|دعم|مناقش|تنفيذ|تلبية"
    "|كتابة"
    "|تزويد|إنشاء|التحدث|أقدم|فعل|القيام|الرد|الاستمرار|أعطي|أخبر|أصف)"
)
ARABIC = Language(
    refusal=(
        "(?:لا (?:أستطيع|يمكنني|يمكننا|نستطيع|أقدر|أود|أرغب|يسعني)|لن (?:أستطيع|أتمكن|أقوم|يمكنني)"
        f"|لست قادر|غير قادر|ليس (?:بإمكاني|بوسعي)|لا أريد){_IN}{{0,20}}?{_AR_VERB}",
        "(?:يخالف|يتعارض مع|ينتهك|تخالف|تنتهك) (?:سياساتي|سياستي|مبادئي|إرشاداتي|قواعدي)",
        "لن (?:أقدم|أساعد|أشرح|أجيب|أعطي|أخبر|أصف)|(?<!لا )(?<!لم )(?<!لن )أرفض|أعتذر عن|يتعذر علي",
    ),
    warning=(
        r"احذر|احترس|كن حذر|كونوا حذر|توخ|الحذر|(?<!غير )خطير|(?<!غير )خطرة|\bسام(?:ا|ة)?\b|قاتل"
        r"|(?<!غير )\bضار(?:ة)?\b|غير قانوني|مخالف للقانون|جريمة",
        f"(?:استشر|راجع|اتصل){_IN}{{0,12}}(?:طبيب|مختص|خبير|محام|متخصص)",
    ),
    unseen_picture=(
        f"(?:لا (?:أستطيع|يمكنني) (?:رؤية|فتح|عرض|مشاهدة)|لا أرى){_IN}{{0,20}}(?:صورة|الصور|ملف)",
    ),
)

_BN_VERB = "(?:করতে|দিতে|বলতে|লিখতে|জানাতে|শেখাতে|বোঝাতে)"
BENGALI = Language(
    refusal=(
        rf"(?:আমি|আমরা|দুঃখিত|ক্ষমা){_IN}{{0,90}}?{_BN_VERB} (?:পারি|পারব|পারবো|পারছি|পারলাম) না",
        "আমার (?:নীতি|নীতিমালা|নিয়ম|নির্দেশিকা)র (?:বিরুদ্ধে|পরিপন্থী|বিরোধী)",
        rf"(?:আমার|আমাদের) পক্ষে{_IN}{{0,50}}সম্ভব (?:নয়|না|হচ্ছে না)|আমার পক্ষে অসম্ভব",
        rf"(?:আমি|আমরা){_IN}{{0,70}}?(?:অস্বীকার কর|অপারগ|অক্ষম|(?:দেব|দেবো|বলব|বলবো|করব|করবো) না)",
    ),
    warning=(
        "সাবধান|সতর্ক|বিপজ্জনক(?! নয়)|বিষাক্ত|ক্ষতিকর(?! নয়)|মারাত্মক|প্রাণঘাতী|অবৈধ|বেআইনি",
        f"(?:ডাক্তার|চিকিৎসক|বিশেষজ্ঞ|উকিল){_IN}{{0,15}}(?:পরামর্শ|যোগাযোগ|জিজ্ঞাস)",
    ),
    unseen_picture=(f"ছবি{_IN}{{0,20}}দেখতে (?:পাচ্ছি|পারি|পারছি|পাই) না",),
)

_PT_VERB = (
    r"\b(?:ajud|auxili|fornec|respond|explic|descrev|compartilh|particip|oferec|apoi|discut|atend"
    r"|fazer|continu|escrev|criar\b|gerar\b|ensin|prossegu|cumpr|colabor|identific|falar|dizer"
    r"|dar\b)"
)
PORTUGUESE = Language(
    refusal=(
        r"\bnão (?:posso|podemos|poderei|consigo|vou|iremos|irei|est(?:ou|amos) (?:autorizad"
        r"|apt)[oa]s?"
        rf" a|sou capaz de|(?:me )?é possível|devo|quero)(?! deixar)(?: \w+){{0,2}}? {_PT_VERB}",
        rf"\b(?:prefiro|preferiria) não {_PT_VERB}",
        r"\b(?:contra|viola|infringe|contraria) (?:as )?(?:minhas|nossas|meus) (?:diretrizes"
        r"|políticas"
        r"|regras|normas|princípios)|\bnão (?:te |o |a |lhe |vou te )?(?:ajudarei|darei|explicarei"
        r"|direi)\b",
        r"\b(?:me recuso|recuso-me|(?:devo|tenho (?:que|de)|preciso) recusar)",
    ),
    warning=(
        r"\bt(?:enha|ome|em|enham) (?:muito )?cuidado\b|\bcuidado (?:com|ao)\b|\bcautela\b"
        r"|(?<!não é )\bperigos[oa]s?\b|\btóxic[oa]s?\b|\bvenenos[oa]s?\b|\bletais\b|\bilegal\b"
        r"|\bilegais\b|\bnociv[oa]s?\b|\bprejudicial\b|\bé (?:um )?crime\b",
        rf"\b(?:consulte|procure)\b{_IN}{{0,20}}\b(?:médic[oa]|profissional|especialista"
        rf"|advogad[oa])",
    ),
    unseen_picture=(
        rf"\bnão (?:consigo|posso) (?:ver|abrir|visualizar|acessar)\b{_IN}{{0,25}}"
        r"\b(?:imagem|foto|arquivo)",
        r"\bnão (?:vejo|há|encontro) (?:nenhuma|a|uma) (?:imagem|foto)",
    ),
)

_RU_VERB = (
    r"\b(?:помо|предостав|дать|дават|ответ|отвеч|объясн|описа|описыв|обсужд|обсуд|выполн|участв"
    r"|поддерж|рассказ|делить|подели|сделать|написа|писать|содейств|созда|продолж|консульт|раскры"
    r"|уч[иа]ть|науч|подсказ|сообщ)"
)
RUSSIAN = Language(
    refusal=(
        r"\b(?:я|мы) (?:\w+ )?не (?:мо(?:гу|жем)|смо(?:гу|жем)|буду|будем|стану|имею права|вправе"
        rf"|готов\w*|намерен\w*|в состоянии)(?! не)(?: \w+){{0,3}}? {_RU_VERB}",
        r"\b(?:извини|прости|прошу прощения|к сожалению|сожалею)"
        rf"{_IN}{{0,25}}\bне (?:мо(?:гу|жем)|смо(?:гу|жем)|буду)(?! не)(?: \w+){{0,3}}? {_RU_VERB}",
        # The verb may come first: "помочь вам я не смогу".
        rf"{_RU_VERB}\w*{_IN}{{0,25}}\bя не (?:могу|смогу|буду|стану)\b",
        r"\b(?:нарушает|противоречит) (?:мои|моим|наши|нашим) (?:правила|правилам|принцип\w+"
        r"|политик\w+)",
        r"\b(?:отказываюсь|откажусь|вынужден\w* отказать|долж(?:ен|на) отказать)",
    ),
    warning=(
        r"\bосторожн[оеы]|\bостерега|\bберегитесь|\b(?<!не )опасн|\bядовит|\bтоксичн|\bсмертельн"
        r"|\bнезаконн|\bпротивозаконн|\bявляется преступлением|\bна свой страх",
        rf"\b(?:обрат|посоветуй|проконсульт)\w*{_IN}{{0,12}}\b(?:врач|специалист|юрист|эксперт)",
    ),
    unseen_picture=(
        rf"\bне (?:вижу|могу (?:увидеть|открыть|просмотреть|видеть)){_IN}{{0,25}}"
        r"\b(?:изображени|картин|фото|файл)",
        rf"\b(?:изображение|картинка|фото){_IN}{{0,15}} не (?:загруз|прикреп|видно|отобража)",
    ),
)

_UR_VERB = "(?:کر|دے|بتا|لکھ|سمجھا|سکھا|بنا)"
URDU = Language(
    refusal=(
        rf"(?:میں|ہم|معذرت|معاف|افسوس){_IN}{{0,90}}?نہیں {_UR_VERB} (?:سکتا|سکتی|سکتے|پاؤں|پائیں)",
        "میر(?:ے|ی) (?:اصولوں|پالیسی|ہدایات|ضابطوں) کے خلاف",
        rf"(?:میں|ہم){_IN}{{0,90}}?(?:نہیں (?:کروں|دوں|بتاؤں|لکھوں) گ|انکار کر(?:تا|تی|تے)|قاصر)",
    ),
    warning=(
        "احتیاط|محتاط|ہوشیار رہ|خبردار|خطرناک(?! نہیں)|زہریل|نقصان دہ(?! نہیں)|مہلک|غیر ?قانونی",
        f"(?:ڈاکٹر|ماہر|وکیل){_IN}{{0,12}}(?:مشور|رابط|پوچھ)",
    ),
    unseen_picture=(f"تصویر{_IN}{{0,20}}(?:نہیں دیکھ|دیکھ نہیں|نظر نہیں)",),
)

_DE_VERB = (
    r"\b(?:helfen|weiterhelfen|behilflich|unterstützen|beantworten|antworten|geben|bereitstellen"
    r"|anbieten|erklären|beschreiben|liefern|mitmachen|teilnehmen|diskutieren|nachkommen|erfüllen"
    r"|schreiben|verfassen|zeigen|beraten|fortfahren|dienen|besprechen|preisgeben|entsprechen)\b"
)
_DE_MODAL = r"(?:kann|können|werde|werden|möchte|möchten|darf|dürfen|will|wollen)"
GERMAN = Language(
    refusal=(
        rf"\b(?:ich|wir) {_DE_MODAL}\b{_IN}{{0,70}}?\b(?:nicht"
        rf"|keine?[nrs]?)\b{_IN}{{0,70}}?{_DE_VERB}",
        rf"\b{_DE_MODAL} (?:ich|wir)\b{_IN}{{0,70}}?\b(?:nicht"
        rf"|keine?[nrs]?)\b{_IN}{{0,70}}?{_DE_VERB}",
        r"\b(?:gebe ich|geben wir|ich gebe) (?:\w+ )?keine",
        r"\b(?:verstösst|geht) gegen (?:meine|unsere) (?:\w+ )?(?:richtlinien|regeln"
        r"|grundsätze|prinzipien|vorgaben)",
        r"\b(?:helfe|antworte|unterstütze|erkläre|beantworte) ich (?:\w+ ){0,3}?nicht\b"
        r"|\bich (?:helfe|antworte|unterstütze|erkläre|beantworte) (?:\w+ ){0,4}?nicht\b",
        rf"\bich (?:lehne|muss)\b{_IN}{{0,40}}\bab(?:lehnen)?\b|\bich weigere mich\b",
        r"\bich bin (?:\w+ )?nicht (?:in der lage|befugt|bereit|berechtigt)\b"
        r"|\b(?:es )?(?:ist (?:es )?mir|ist mir das) (?:\w+ )?nicht möglich\b",
    ),
    warning=(
        r"\bvorsicht(?:ig)?\b|\bachtung\b|\bgefährlich|\bgiftig|\btödlich|(?<!un)schädlich\b"
        r"|\bstrafbar\b|\bist verboten\b|\bauf eigene gefahr\b|\blebensgefahr",
        rf"\b(?:arzt|ärztin|fachmann|fachkraft|expert\w+|anwalt){_IN}{{0,15}}"
        r"\b(?:fragen|aufsuchen|konsultieren|rat)",
    ),
    unseen_picture=(
        r"\b(?:sehe|erkenne) (?:ich )?(?:leider )?kein (?:bild|foto)",
        rf"\bkann (?:ich )?(?:leider )?(?:das|kein|die|keine?) {_IN}{{0,20}}?(?:bild|foto|datei)\w*"
        rf"{_IN}{{0,15}}\b(?:sehen|öffnen|erkennen|anzeigen)",
    ),
)

_JA_VERB = (
    "(?:応え|答え|手伝い|力にな|教え|話し|伝え|受け|応じ|回答|提供|説明|支援|協力|対応|サポート"
    "|案内|手助け"
    "|描写|作成|生成|お役に立|助け)"
)
JAPANESE = Language(
    refusal=(
        rf"{_JA_VERB}[^。.!?、,]{{0,10}}?(?:できません|出来ません|できかね|いたしかね|致しかね"
        rf"|しかねます"
        "|いたしません|られません|ことはない)",
        f"{_JA_VERB}(?:は|を)?しません",
        "お断り(?:し|いた|致|させ)|拒否(?:し|いた)ます|役に立てません",
    ),
    warning=(
        "注意(?:して|が必要)|ご注意|気をつけ|気を付け|危険(?!では|じゃ|はありません|はない"
        "|性はありません)"
        "|有毒|猛毒|毒が(?!ない|あり?ません)|致命的|違法|有害|(?:食べ|触ら|飲ま|真似し"
        "|近づか)ないで",
        f"(?:医師|専門家|弁護士|医者){_IN}{{0,12}}(?:相談|連絡)",
    ),
    unseen_picture=(
        rf"(?:画像|写真|ファイル){_IN}{{0,12}}(?:見え|見ること|見られ|表示|確認|開|添付)"
        rf"{_IN}{{0,8}}(?:ません|ない)",
    ),
)

_LANGUAGES = (
    CHINESE, HINDI, SPANISH, FRENCH, ARABIC, BENGALI, PORTUGUESE, RUSSIAN, URDU, GERMAN, JAPANESE,
)  # fmt: skip


def _any_of(patterns: tuple[tuple[str, ...], ...]) -> str:
    return plain_script("|".join(pattern for of_language in patterns for pattern in of_language))


FOREIGN_REFUSAL = _any_of(tuple(language.refusal for language in _LANGUAGES))
FOREIGN_WARNING = _any_of(tuple(language.warning for language in _LANGUAGES))
FOREIGN_UNSEEN_PICTURE = _any_of(tuple(language.unseen_picture for language in _LANGUAGES))
FOREIGN_BARE_NO = plain_script("nein|non|não|нет|不行|不可以|不|لا|نہیں|नहीं|না|いいえ|だめです")
